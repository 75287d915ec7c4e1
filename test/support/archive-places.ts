// The files of an archive, stretch by stretch, and by whom each stretch is read: by dom0, or by the receiver's scrub of its
// container, or of all that is in no container (archive-format.md has the layout).

import { randomBytes } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { checkCopies } from "../../dom0-agent/check/copies.ts";
import { listStore } from "../../dom0-agent/check/list-store.ts";
import { allSessions } from "../../dom0-agent/restore/find-session.ts";
import { fetchManifest } from "../../dom0-agent/archive/fetch-manifest.ts";
import type { OpenArchive } from "../../dom0-agent/archive/archive.ts";
import { checkHeader } from "../../dom0-agent/restore/check-header.ts";
import { AgentError } from "../../dom0-agent/errors.ts";
import type { Container, VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ChunkEntry } from "../../protocol/archive/manifest.ts";
import { archiveFile, chunkPath, indexFile, listFile, manifestFile } from "../../protocol/archive/names.ts";
import { decodeOffsetsFooter, footerBytes, footerOffset } from "../../protocol/archive/tar-layout.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { type Damage, isDamage } from "../../protocol/wire/messages.ts";
import { readVolumes } from "../../dom0-agent/check/archived-volume.ts";
import { openNow, readChunk } from "./archive-look.ts";
import type { SealedSample, Tree } from "./sealed-sample.ts";

export interface Place {
  readonly file: string;
  /** Bytes `from` up to, not including, `to`. */
  readonly from: number;
  readonly to: number;
  /** The kind of thing that it is. */
  readonly what: string;
  /** Reads what it is part of; throws AgentError `integrity` for damage. */
  readonly read: () => Promise<unknown>;
  /** Who that is: dom0, or the receiver as it scrubs a container or the rest of the archive, which takes longer. */
  readonly by: "dom0" | "container" | "rest";
}

/** Every byte of every file, once. `open` has been opened before anything is changed, and reads files as they are. */
export async function placesOf(
  sample: SealedSample,
  open: OpenArchive,
  now: Tree,
): Promise<readonly Place[]> {
  const found = new Map<string, readonly Place[]>();
  const whole = (file: string, what: string, read: Place["read"], by: Place["by"] = "dom0"): void => {
    found.set(file, [{ file, from: 0, to: sizeOf(now, file), what, read, by }]);
  };
  const opening = async (): Promise<unknown> => {
    using opened = await openNow(sample);
    return opened.headDigest.join();
  };
  const copies = async (): Promise<unknown> => {
    using opened = await openNow(sample);
    const [damage] = (await checkCopies(opened)).damaged;
    if (damage !== undefined) throw new AgentError("integrity", damage.why);
    return opened.headDigest.join();
  };
  const twice = (file: string, what: string): void => {
    whole(file, what, copies);
    whole(join("copies", file), `copy of ${what}`, copies);
  };
  twice(`heads/${open.head.generation}`, "head");
  whole(archiveFile(open.head.archiveGeneration), "archive", opening);
  const { groups } = await readVolumes(open);
  const containers: { readonly path: string; readonly parts: ReadonlyMap<string, Part> }[] = [];
  for (const { directory, index } of groups.flatMap(({ volumes }) => volumes)) {
    twice(join(directory, indexFile(index.generation)), "index");
    for (const container of index.containers) {
      const parts = await partsOf(sample, open, index, container);
      const path = join(directory, container.name);
      containers.push({ path, parts });
      if (container.form === "tar") {
        found.set(`${path}.tar`, tarPlaces(now, `${path}.tar`, container, parts));
        const beside = (file: string, part: Part | undefined): void => {
          if (part !== undefined && now.has(`${path}.tar.${file}`))
            whole(`${path}.tar.${file}`, part.what, part.read);
        };
        if (container.manifestGeneration !== 0)
          beside(manifestFile(container.manifestGeneration), parts.get("manifest"));
        if (container.listGeneration !== 0) beside(listFile(container.listGeneration), parts.get("list"));
        continue;
      }
      for (const { name, what, read } of parts.values())
        if (name !== "offsets") whole(join(path, name), what, read);
    }
  }
  const rest = async (): Promise<unknown> => {
    using opened = await openNow(sample);
    return refuseDamage(await opened.client.scrubRest());
  };
  for (const file of now.keys()) {
    if (found.has(file)) continue;
    // What lies in a container of the newest head is read with that, everything else by itself.
    const scrubbed = containers.find(({ path }) => file.startsWith(`${path}/`));
    const part = scrubbed?.parts.get("offsets");
    whole(file, kindOf(file), part?.read ?? rest, part === undefined ? "rest" : "container");
  }
  return [...found.values()].flat();
}

/** Throws for the first damage, and gives what is only said. */
function refuseDamage(found: readonly Damage[]): readonly string[] {
  const damage = found.find(isDamage);
  if (damage !== undefined) throw new AgentError("integrity", `${damage.file} is ${damage.what}`);
  return found.map(({ file, what }) => `${file} ${what}`);
}

/** What a file that dom0 does not read is called by: `old index`, `README.txt`. */
function kindOf(file: string): string {
  const name = basename(file);
  const [, kind] =
    /^(?:S_[-0-9]+[.]tar[.])?(index|list|manifest|archive|header)(?:[.][0-9]+)?$/.exec(name) ?? [];
  if (kind !== undefined) return `old ${kind}`;
  if (/^x[0-9a-f]{16}$/.test(name)) return "old chunk";
  if (name.endsWith(".tar")) return "old tar";
  return dirname(file) === "." ? name : `old ${dirname(file)}`;
}

interface Part {
  /** Below the container's directory. */
  readonly name: string;
  readonly what: string;
  readonly read: () => Promise<unknown>;
}

/** What of a container somebody reads: by kind, and chunks by their name. */
async function partsOf(
  sample: SealedSample,
  open: OpenArchive,
  index: VolumeIndex,
  container: Container,
): Promise<ReadonlyMap<string, Part>> {
  const parts = new Map<string, Part>();
  const add = (key: string, name: string, what: string, read: Part["read"]): void =>
    void parts.set(key, { name, what, read });
  const session = allSessions(index).find((each) => each.container === container);
  if (session !== undefined) {
    add("header", "header", "header", async () => checkHeader(open, index, session));
    add("manifest", manifestFile(container.manifestGeneration), "manifest", async () => {
      const path = join(sample.directory, randomBytes(8).toString("hex"));
      using manifest = await fetchManifest(open, index, container, path);
      return [...manifest.entries()].length;
    });
  }
  add("list", listFile(container.listGeneration), "list", async () => {
    using lists = listStore(sample.directory);
    return (await lists.fetch(open, index, container)).chunks;
  });
  add("offsets", "offsets", "offsets of a tar", async () => {
    const known = { chunks: container.chunks, bytes: container.storedBytes, canHave: () => true };
    return refuseDamage(await open.client.scrub(index.volume, container.uid, known));
  });
  for (const { entry, size } of await entriesIn(sample, open, container)) {
    const { group, file } = chunkPath(entry.storedAddress);
    const ref = { volume: index.volume, session: container.uid };
    const read = async (): Promise<void> => readChunk(open, index, ref, entry, size);
    add(`${group}/${file}`, join(group, file), "chunk", read);
  }
  return parts;
}

/** Chunks of a container that any session's manifest names. */
async function entriesIn(
  sample: SealedSample,
  open: OpenArchive,
  container: Container,
): Promise<readonly { readonly entry: ChunkEntry; readonly size: number }[]> {
  const found = [];
  const { groups } = await readVolumes(open);
  for (const { index } of groups.flatMap(({ volumes }) => volumes)) {
    for (const session of allSessions(index)) {
      const path = join(sample.directory, randomBytes(8).toString("hex"));
      using manifest = await fetchManifest(open, index, session.container, path);
      for (const entry of manifest.entries()) {
        if (entry.kind !== "chunk") continue;
        const uid =
          entry.container === 0 ? session.container.uid : manifest.containers[entry.container - 1]?.session;
        if (uid !== undefined && equalBytes(uid, container.uid))
          found.push({ entry: { ...entry }, size: manifest.size });
      }
    }
  }
  return found;
}

const block = 512;
/** Where a member's header says how long its data is (F27). */
const sizeField = { from: 124, to: 135 };

/** A tar's members: what counts of each is its data; of a chunk's header also its length. */
function tarPlaces(
  now: Tree,
  file: string,
  container: Container,
  parts: ReadonlyMap<string, Part>,
): readonly Place[] {
  const tar = now.get(file) ?? Buffer.alloc(0);
  const footerAt = footerOffset(tar.length);
  const footer = decodeOffsetsFooter(tar.subarray(footerAt, footerAt + footerBytes), tar.length);
  const places: Place[] = [];
  const offsets = parts.get("offsets");
  if (offsets === undefined) throw new Error("no offsets");
  const add = (from: number, to: number, what: string, part: Part | undefined): void => {
    const { read } = part ?? offsets;
    const by = part === undefined || part === offsets ? "container" : "dom0";
    if (to > from) places.push({ file, from, to, what, read, by });
  };
  let at = 0;
  while ((tar[at] ?? 0) !== 0) {
    const text = (from: number, to: number): string =>
      tar.toString("latin1", at + from, at + to).replace(/\0.*$/s, "");
    const name = text(0, 100).slice(container.name.length + 1);
    const data = at + block;
    const end = data + Number.parseInt(text(sizeField.from, sizeField.to), 8);
    const part = parts.get(name.startsWith("manifest") ? "manifest" : name);
    const superseded =
      name === "list"
        ? container.listGeneration !== 0
        : name.startsWith("manifest") && footer.manifestGeneration !== container.manifestGeneration;
    const isChunk = part?.what === "chunk";
    add(at, at + sizeField.from, "header of a tar's member", undefined);
    add(
      at + sizeField.from,
      at + sizeField.to,
      isChunk ? "length of a tar's chunk" : "header of a tar's member",
      isChunk ? part : undefined,
    );
    add(at + sizeField.to, data, "header of a tar's member", undefined);
    if (superseded || part === undefined) add(data, end, "superseded or dead in a tar", undefined);
    else add(data, end, `${part.what}, in a tar`, part);
    const next = Math.ceil(end / block) * block;
    add(end, next, "padding of a tar", undefined);
    at = next;
  }
  add(at, tar.length, "end of a tar", undefined);
  return places;
}

function sizeOf(now: Tree, file: string): number {
  const bytes = now.get(file);
  if (bytes === undefined) throw new Error(`${file} is not there`);
  return bytes.length;
}
