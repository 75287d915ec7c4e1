// What the step to the next head is made of when sessions of a volume are dropped, or volumes: made from the archive as it
// lies on disk, with everything in memory, and nothing shared with the agent but the codecs in protocol/archive. The tests
// of the receiver put it there; what it says is what docs/archive-format.md says.

import { readdirSync, readFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { mkdtempSync, rmSync } from "node:fs";
import { concatBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import {
  type ChunkRun,
  type DeadContainer,
  type DeadFile,
  type DeadVolume,
  encodeDead,
} from "../../protocol/archive/dead-file.ts";
import { chainOf, decodeHead, encodeHead, type Head, type HeadVolume } from "../../protocol/archive/head.ts";
import {
  type Container,
  decodeIndex,
  encodeIndex,
  type SessionRecord,
  type VolumeIndex,
} from "../../protocol/archive/index-file.ts";
import { decodeList, listBuilder, type ListEntry } from "../../protocol/archive/list-file.ts";
import {
  type ChunkEntry,
  chunkCount,
  type ContainerRef,
  decodeManifestHead,
  encodeManifestHead,
  encodeRecord,
  type ManifestEntry,
  recordBytes,
  recordReader,
} from "../../protocol/archive/manifest.ts";
import { besideTar, listFile, manifestFile } from "../../protocol/archive/names.ts";
import { fileDigest, sha256 } from "../../protocol/archive/prefix.ts";
import type { ChunkAddress, Digest, Generation, Mac, SessionUid } from "../../protocol/archive/types.ts";
import type { Commit, MetaKind, MetaName } from "../../protocol/wire/messages.ts";

export interface PutOfPrune {
  readonly name: Partial<MetaName> & { readonly kind: MetaKind };
  readonly bytes: Uint8Array;
}

export interface Prune {
  /** In the order in which they are put; the head is last. */
  readonly puts: readonly PutOfPrune[];
  readonly commit: Commit;
  readonly dead: DeadFile;
  readonly head: Head;
  /** Containers by volume, as the new indexes have them. */
  readonly containers: ReadonlyMap<string, readonly Container[]>;
}

export interface PruneOptions {
  /** True for sessions that go. */
  readonly drop?: (session: SessionRecord, container: Container, volume: string) => boolean;
  /** Directories of volumes that go. */
  readonly remove?: readonly string[];
  /** Changes the dead list before it is written. */
  readonly alterDead?: (dead: DeadFile) => DeadFile;
  readonly alterIndex?: (index: VolumeIndex) => VolumeIndex;
  readonly alterHead?: (head: Head) => Head;
}

const bytesOf = (path: string): Uint8Array => new Uint8Array(readFileSync(path));

/** A file of a container, whatever its form. */
function readFileOf(volume: string, { name, form }: Container, file: string, inTar: boolean): Uint8Array {
  if (form === "dir") return bytesOf(join(volume, name, file));
  if (!inTar) return bytesOf(join(volume, besideTar(name, file)));
  const directory = mkdtempSync(join(tmpdir(), "prune-writer-"));
  try {
    execFileSync("tar", ["-xf", join(volume, `${name}.tar`), "-C", directory, `${name}/${file}`]);
    return bytesOf(join(directory, name, file));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

export function listOf(volume: string, container: Container): readonly ListEntry[] {
  const { listGeneration } = container;
  return decodeList(readFileOf(volume, container, listFile(listGeneration), listGeneration === 0));
}

/** What a session's map says of one chunk: undefined for a hole. */
type Mapped = { readonly entry: ChunkEntry; readonly ref: ContainerRef } | undefined;

/** Makes the step for the archive at `path`; the volumes in it share no chunks. */
export function makePrune(path: string, options: PruneOptions = {}): Prune {
  const newest = Math.max(...readdirSync(join(path, "heads")).map(Number).filter(Number.isInteger));
  const before = decodeHead(bytesOf(join(path, "heads", String(newest))));
  const generation = (newest + 1) as Generation;
  const removed = options.remove ?? [];
  const kept = before.volumes.filter((each) => !removed.includes(each.directory));
  const puts: PutOfPrune[] = [];
  const deadVolumes: DeadVolume[] = before.volumes
    .filter((each) => removed.includes(each.directory))
    .map(({ volume, directory }) => ({ volume, directory, removed: true, indexes: [], containers: [] }));
  const volumes: HeadVolume[] = [];
  const containers = new Map<string, readonly Container[]>();
  for (const of of kept) {
    const volume = pruneVolume(join(path, of.directory), of, generation, options);
    if (volume === undefined) {
      volumes.push(of);
      continue;
    }
    puts.push(...volume.puts);
    deadVolumes.push(volume.dead);
    volumes.push({ ...of, indexGeneration: generation, indexDigest: volume.indexDigest });
    containers.set(of.directory, volume.containers);
  }
  const made: DeadFile = {
    archive: before.archive,
    generation,
    createdAt: Date.UTC(2026, 0, 1),
    volumes: deadVolumes.sort((a, b) => Buffer.compare(a.volume, b.volume)),
    headsBelow: generation,
    archives: [],
  };
  const dead = options.alterDead?.(made) ?? made;
  const body = { ...before, generation, volumes, previousChain: before.chain };
  const bare: Head = {
    ...body,
    chain: chainOf(before.archive, generation, before.chain, body),
    log: concatBytes([before.log, new Uint8Array(randomBytes(8))]),
    mac: new Uint8Array(randomBytes(32)) as Mac,
  };
  const altered = options.alterHead?.(bare) ?? bare;
  const head = {
    ...altered,
    chain: chainOf(altered.archive, altered.generation, altered.previousChain, altered),
  };
  const headBytes = encodeHead(head);
  const baseDigest = fileDigest(bytesOf(join(path, "heads", String(newest))));
  return {
    puts: [
      { name: { kind: "dead", generation }, bytes: encodeDead(dead) },
      ...puts,
      { name: { kind: "head", generation }, bytes: headBytes },
    ],
    commit: { base: newest as Generation, baseDigest, headDigest: fileDigest(headBytes) },
    dead,
    head,
    containers,
  };
}

interface PrunedVolume {
  readonly puts: readonly PutOfPrune[];
  readonly dead: DeadVolume;
  readonly indexDigest: Digest;
  readonly containers: readonly Container[];
}

function pruneVolume(
  path: string,
  of: HeadVolume,
  generation: Generation,
  { drop = () => false, alterIndex = (index) => index }: PruneOptions,
): PrunedVolume | undefined {
  const index = decodeIndex(bytesOf(join(path, `index.${of.indexGeneration}`)));
  const containerOf = (uid: SessionUid): Container =>
    index.containers.find((each) => equalBytes(each.uid, uid))!;
  const keeps = index.sessions.filter((each) => !drop(each, containerOf(each.uid), of.directory));
  const changed = alterIndex(index) !== index;
  if (keeps.length === index.sessions.length && !changed) return undefined;
  const puts: PutOfPrune[] = [];
  const identity = (
    session: SessionUid,
  ): { volume: typeof of.volume; session: SessionUid; generation: Generation } => ({
    volume: of.volume,
    session,
    generation,
  });

  // Every session's map, then the differences between those that are kept.
  const maps = new Map<SessionRecord, readonly Mapped[]>();
  let map: Mapped[] = [];
  let chunkSize = 65_536;
  for (const session of index.sessions) {
    const container = containerOf(session.uid);
    const inTar = container.form === "tar" && firstManifest(path, container) === container.manifestGeneration;
    const bytes = readFileOf(path, container, manifestFile(container.manifestGeneration), inTar);
    const manifest = decodeManifestHead(bytes, bytes.length);
    ({ chunkSize } = manifest);
    const records = bytes.subarray(manifest.recordsAt, manifest.recordsAt + manifest.records * recordBytes);
    map = map.slice(0, chunkCount(session.size, chunkSize));
    for (const entry of recordReader(manifest).read(records)) {
      for (let i = 0; i < entry.run; i++) {
        const at = entry.address / chunkSize + i;
        map[at] =
          entry.kind === "hole"
            ? undefined
            : {
                entry,
                ref:
                  entry.container === 0
                    ? { volume: of.volume, session: session.uid }
                    : manifest.containers[entry.container - 1]!,
              };
      }
    }
    maps.set(
      session,
      Array.from({ length: chunkCount(session.size, chunkSize) }, (_, i) => map[i]),
    );
  }
  const live = new Set<string>();
  for (const session of keeps) {
    for (const each of maps.get(session)!) {
      if (each !== undefined) live.add(`${toHex(each.ref.session)} ${each.entry.storedAddress}`);
    }
  }

  const dead: DeadContainer[] = [];
  const containers: Container[] = [];
  for (const container of index.containers) {
    const at = index.sessions.findIndex((each) => equalBytes(each.uid, container.uid));
    const session = index.sessions[at];
    const isKept = session !== undefined && keeps.includes(session);
    const list = listOf(path, container);
    const living = list.filter((each) => live.has(`${toHex(container.uid)} ${each.address}`));
    const nothing = { uid: container.uid, name: container.name, form: container.form, whole: true };
    if (!isKept && living.length === 0) {
      dead.push({ ...nothing, manifests: [], lists: [], chunks: [] });
      continue;
    }
    let now = container;
    const manifests: Generation[] = [];
    const lists: Generation[] = [];
    if (!isKept && container.manifestGeneration !== 0) {
      manifests.push(container.manifestGeneration);
      now = { ...now, manifestGeneration: 0 as Generation, manifestDigest: new Uint8Array(32) as Digest };
    }
    if (isKept && index.sessions[at - 1] !== keeps[keeps.indexOf(session) - 1]) {
      const previous = keeps[keeps.indexOf(session) - 1];
      const bytes = encodeDifference(index, session, maps.get(session)!, previous && maps.get(previous), {
        generation,
        chunkSize,
      });
      puts.push({ name: { kind: "manifest", ...identity(container.uid) }, bytes });
      manifests.push(container.manifestGeneration);
      now = { ...now, manifestGeneration: generation, manifestDigest: fileDigest(bytes) };
    }
    if (living.length < list.length) {
      const builder = listBuilder({ archive: index.archive, ...identity(container.uid) });
      const parts = [builder.head, ...living.map((each) => builder.add(each))];
      const { tail, digest, chunks, bytes: storedBytes } = builder.finish();
      const bytes = new Uint8Array(Buffer.concat([...parts, tail]));
      puts.push({ name: { kind: "list", ...identity(container.uid) }, bytes });
      lists.push(container.listGeneration);
      now = { ...now, listGeneration: generation, listDigest: digest, chunks, storedBytes };
    }
    const chunks = list
      .filter((each) => !living.includes(each))
      .map((each): ChunkRun => ({ address: each.address, count: 1 }));
    if (manifests.length + lists.length + chunks.length > 0)
      dead.push({ ...nothing, whole: false, manifests, lists, chunks });
    containers.push(now);
  }
  const made = alterIndex({ ...index, generation, containers, sessions: keeps });
  const bytes = encodeIndex(made);
  puts.push({ name: { kind: "index", volume: of.volume, generation }, bytes });
  return {
    puts,
    indexDigest: fileDigest(bytes),
    containers: made.containers,
    dead: {
      volume: of.volume,
      directory: of.directory,
      removed: false,
      indexes: readdirSync(path)
        .map((name) => Number(/^index[.](\d+)$/.exec(name)?.[1] ?? generation))
        .filter((each) => each < generation)
        .sort((a, b) => a - b) as Generation[],
      containers: dead,
    },
  };
}

function firstManifest(volume: string, { name }: Container): number {
  const members = execFileSync("tar", ["-tf", join(volume, `${name}.tar`)], { encoding: "utf8" });
  return Number(/\/manifest\.(\d+)$/m.exec(members)?.[1] ?? Number.NaN);
}

/** The manifest of a session against another one before it, holes where nothing was before. */
function encodeDifference(
  index: VolumeIndex,
  { uid, size }: SessionRecord,
  map: readonly Mapped[],
  previous: readonly Mapped[] | undefined,
  of: { readonly generation: Generation; readonly chunkSize: number },
): Uint8Array {
  const table: ContainerRef[] = [];
  const numberOf = (ref: ContainerRef): number => {
    if (equalBytes(ref.session, uid)) return 0;
    const known = table.findIndex((each) => equalBytes(each.session, ref.session));
    return known === -1 ? table.push(ref) : known + 1;
  };
  const entries: ManifestEntry[] = [];
  for (const [i, each] of map.entries()) {
    const before = previous?.[i];
    const same =
      previous === undefined
        ? each === undefined
        : i < previous.length &&
          (each === before ||
            (each !== undefined && before !== undefined && equalBytes(each.entry.id, before.entry.id)));
    if (same) continue;
    const address = (i * of.chunkSize) as ChunkAddress;
    entries.push(
      each === undefined
        ? { kind: "hole", address, run: 1 }
        : { ...each.entry, address, run: 1, container: numberOf(each.ref) },
    );
  }
  const records = new Uint8Array(entries.length * recordBytes);
  entries.forEach((entry, i) => encodeRecord(records, i * recordBytes, entry));
  const { archive, volume } = index;
  const head = encodeManifestHead(
    { archive, volume, generation: of.generation },
    { session: uid, size, chunkSize: of.chunkSize, containers: table },
    entries.length,
  );
  const bytes = Buffer.concat([head, records]);
  return new Uint8Array(Buffer.concat([bytes, sha256(bytes)]));
}
