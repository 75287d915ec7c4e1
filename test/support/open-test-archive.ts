// The agent's view of an archive that lies in a directory, for tests of what happens behind the receiver's answers: it
// reads the files where they are, keeps what is put, and a commit writes it there. What a dead list names is removed
// at the commit, and removing what is not there, or what the new state still names, fails the test. It stands in for
// the receiver in tests of many small steps only; test/e2e/ runs the same through the real one.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodeDead, type DeadFile } from "../../protocol/archive/dead-file.ts";
import { decodeHead } from "../../protocol/archive/head.ts";
import { type Container, decodeIndex, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import { chunkPath, indexFile, listFile, manifestFile } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { ChunkAddress, Generation } from "../../protocol/archive/types.ts";
import { concatBytes, equalBytes, plainBytes, toHex } from "../../protocol/bytes.ts";
import { archiveSeal } from "../../dom0-agent/keys/archive-seal.ts";
import { archiveKeys } from "../../protocol/seal/keys.ts";
import type { MetaName } from "../../protocol/wire/messages.ts";
import { writeArchiveRecord } from "../../dom0-agent/state/archive-record.ts";
import { makeDirectory } from "../../dom0-agent/state/writing.ts";
import { stateLayout } from "../../dom0-agent/state/layout.ts";
import { markOf, type OpenArchive } from "../../dom0-agent/archive/archive.ts";
import type { Client } from "../../dom0-agent/archive/client.ts";
import type { TestArchive } from "./archive-writer.ts";

export interface OpenedTestArchive {
  readonly open: OpenArchive;
  /** Every dead list that was committed. */
  readonly dead: readonly DeadFile[];
  /** Bytes that the agent has read. */
  readonly readBytes: number;
}

/** Opens what `archive` has written so far; dom0's state is in `state`. */
export function openTestArchive(archive: TestArchive, state: string): OpenedTestArchive {
  const { path, header } = archive;
  const { uuid } = header;
  const paths = stateLayout(state).archive("default");
  makeDirectory(paths.directory);
  const headAt = (generation: number): Uint8Array | undefined =>
    readThere(join(path, "heads", String(generation)));
  const newest = Math.max(...readdirSync(join(path, "heads")).map(Number));
  const bytes = headAt(newest) ?? new Uint8Array(0);
  const head = decodeHead(bytes, { archive: uuid });
  const record = {
    uuid,
    sealed: false,
    chunkSize: header.chunkSize,
    level: header.level,
    idSeed: header.idSeed,
    head: markOf(head, fileDigest(bytes)),
    volumes: [],
    groups: [],
  };
  writeArchiveRecord(paths, record);
  const puts: { readonly name: MetaName; readonly bytes: Uint8Array }[] = [];
  const dead: DeadFile[] = [];
  let readBytes = 0;

  const indexOf = (volume: Uint8Array): { directory: string; index: VolumeIndex } | undefined => {
    const entry = open.head.volumes.find((each) => equalBytes(each.volume, volume));
    if (entry === undefined) return undefined;
    const file = join(path, entry.directory, indexFile(entry.indexGeneration));
    return { directory: entry.directory, index: decodeIndex(plainBytes(readFileSync(file))) };
  };
  const fileOf = (name: MetaName): string | undefined => {
    if (name.kind === "head") return join(path, "heads", String(name.generation));
    const found = indexOf(name.volume);
    if (found === undefined) return undefined;
    if (name.kind === "index") return join(path, found.directory, indexFile(name.generation));
    const container = found.index.containers.find((each) => equalBytes(each.uid, name.session));
    if (container === undefined) throw new Error("a container that no index names");
    return metaPath(join(path, found.directory), container, name);
  };
  const read: Client["read"] = (name, max, sink) => {
    const file = fileOf(name);
    const found = file === undefined ? undefined : readThere(file);
    if (found === undefined) return Promise.resolve(undefined);
    if (found.length > max) throw new Error(`${name.kind}: ${found.length} bytes`);
    readBytes += found.length;
    for (let at = 0; at < found.length; at += 1_000_000) sink(found.subarray(at, at + 1_000_000));
    return Promise.resolve(found.length);
  };
  const put: Client["put"] = (name, length, digest, parts) => {
    const whole = concatBytes([...parts].map((part) => part.slice()));
    if (whole.length !== length || !equalBytes(fileDigest(whole), digest))
      throw new Error(`put ${name.kind}`);
    puts.push({ name, bytes: whole });
    return Promise.resolve();
  };
  const commit = (): { generation: Generation; headDigest: Uint8Array } => {
    for (const { name, bytes: content } of puts) {
      if (name.kind !== "head" && name.kind !== "dead")
        writeFileSync(fileOf(name) ?? "", content, { flag: "wx" });
    }
    const made = puts.find(({ name }) => name.kind === "head");
    if (made === undefined) throw new Error("commit without a head");
    const next = decodeHead(made.bytes);
    writeFileSync(join(path, "heads", String(next.generation)), made.bytes, { flag: "wx" });
    const list = puts.find(({ name }) => name.kind === "dead");
    open.head = next;
    if (list !== undefined) {
      const decoded = decodeDead(list.bytes, { archive: uuid, generation: next.generation });
      dead.push(decoded);
      sweep(path, decoded, header.chunkSize, (volume) => indexOf(volume)?.index);
    }
    puts.length = 0;
    return { generation: next.generation, headDigest: fileDigest(made.bytes) };
  };
  const client: Pick<Client, "read" | "readWhole" | "put" | "ask"> = {
    read,
    readWhole: async (name, max) => {
      const parts: Uint8Array[] = [];
      const length = await read(name, max, (part) => parts.push(part));
      return length === undefined ? undefined : concatBytes(parts);
    },
    put,
    ask: (type) => {
      if (type !== "commit") throw new Error(`${type}: not for this stand-in`);
      return Promise.resolve(commit() as never);
    },
  };
  const open: OpenArchive = {
    settings: {} as OpenArchive["settings"],
    paths,
    keys: archiveKeys(new Uint8Array(32).fill(7), uuid),
    seal: archiveSeal(new Uint8Array(32).fill(7), record),
    client: client as Client,
    head,
    headDigest: fileDigest(bytes),
    record,
    header: new Uint8Array(0),
  };
  return {
    open,
    dead,
    get readBytes() {
      return readBytes;
    },
  };
}

function metaPath(volume: string, container: Container, name: MetaName): string {
  const file =
    name.kind === "header"
      ? "header"
      : name.kind === "list"
        ? listFile(name.generation)
        : manifestFile(name.generation);
  return join(volume, container.name, file);
}

function readThere(path: string): Uint8Array | undefined {
  return existsSync(path) ? plainBytes(readFileSync(path)) : undefined;
}

/** Carries out a dead list, directory form only. */
function sweep(
  path: string,
  dead: DeadFile,
  chunkSize: number,
  indexOf: (volume: Uint8Array) => VolumeIndex | undefined,
): void {
  for (const { volume, directory, removed, indexes, containers } of dead.volumes) {
    const own = join(path, directory);
    const index = indexOf(volume);
    if (removed) {
      if (index !== undefined) throw new Error("a volume goes, and the head names it");
      rmSync(own, { recursive: true });
      continue;
    }
    for (const each of indexes) rmSync(join(own, indexFile(each)));
    for (const { uid, name, whole, manifests, lists, chunks } of containers) {
      const now = index?.containers.find((each) => toHex(each.uid) === toHex(uid));
      if (whole === (now !== undefined)) throw new Error("a container goes, and the index names it");
      if (whole) rmSync(join(own, name), { recursive: true });
      for (const each of manifests) rmSync(join(own, name, manifestFile(each)));
      for (const each of lists) rmSync(join(own, name, listFile(each)));
      for (const { address, count } of chunks)
        for (let i = 0; i < count; i++) {
          const { group, file } = chunkPath((address + i * chunkSize) as ChunkAddress);
          rmSync(join(own, name, group, file));
        }
    }
  }
  for (const each of readdirSync(join(path, "heads"))) {
    if (Number(each) < dead.headsBelow) rmSync(join(path, "heads", each));
  }
  mkdirSync(path, { recursive: true });
}
