// Checking one container against the index, byte for byte, without any key: its files by their digests, every stored chunk
// by the list, and that nothing lies there that shouldn't. Damage is reported and goes on; it is never an error.

import { hash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Container } from "../../protocol/archive/index-file.ts";
import {
  type ListEntry,
  listHeadBytes,
  listRecordBytes,
  listTailBytes,
} from "../../protocol/archive/list-file.ts";
import {
  chunkPath,
  fileNames,
  listFile,
  manifestFile,
  parseChunkFile,
} from "../../protocol/archive/names.ts";
import { footerOffset, offsetsHeadBytes, tarTrailerBytes } from "../../protocol/archive/tar-layout.ts";
import { type ChunkAddress, maxStoredLength, type VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import type { Damage, DamagedFile, DamageKind } from "../../protocol/wire/messages.ts";
import { type Directory, namesIn, openIfThere } from "../directory.ts";
import { RefusalError, systemCode } from "../errors.ts";
import { type StoredFile, statOf } from "../files.ts";
import type { Trash } from "./dead-lists.ts";
import { listRecords } from "./list-records.ts";
import { groupsOf } from "./remove.ts";
import type { SessionFile } from "./store.ts";
import type { StoredChunks } from "./stored-chunks.ts";
import { stores } from "./stores.ts";
import { readTarFooter } from "./tar/tar-reader.ts";
import { stateOfFile } from "./whole-file.ts";

export interface ScrubOptions {
  /** The volume's. */
  readonly directory: Directory;
  readonly volume: VolumeId;
  readonly container: Container;
  readonly chunkSize: number;
  /** What is dead and waits is nothing that shouldn't be there. */
  readonly trash: Trash;
  readonly onDamage: (damage: Damage) => void;
  readonly onBytes: (bytes: number) => void;
  readonly signal: AbortSignal;
}

const turnBytes = 8 * 1024 * 1024;
/** One sector that can't be read is damage; so many in a row are a drive that is going. */
const maxReadErrors = 16;

/** Checks it. Throws what the system throws where that is no damage of a file; RefusalError `io` where the drive fails. */
export async function scrubContainer(options: ScrubOptions): Promise<void> {
  const { container, onDamage } = options;
  const report = (file: DamagedFile, what: DamageKind, address = 0): void =>
    onDamage({ file, what, address: address as ChunkAddress });
  if (container.form === "tar" && !(await checkTar(options, report))) return;
  const { manifestGeneration, listGeneration } = container;
  // Of a session that was pruned nobody needs the header any more.
  if (manifestGeneration !== 0) {
    using _header = await checkFile(options, { kind: "header" }, report);
    using _manifest = await checkFile(options, { kind: "manifest", generation: manifestGeneration }, report);
  }
  using list = await checkFile(options, { kind: "list", generation: listGeneration }, report);
  if (list === undefined) return;
  const count = Math.floor((list.length - listHeadBytes - listTailBytes) / listRecordBytes);
  await checkChunks(options, listRecords(list, count), report);
  if (container.form === "dir") await findExtras(options, listRecords(list, count), report);
}

type Report = (file: DamagedFile, what: DamageKind, address?: number) => void;

/** Opens and checks a file; gives it where it is whole. */
async function checkFile(
  { directory, container, onBytes }: ScrubOptions,
  file: SessionFile,
  report: Report,
): Promise<StoredFile | undefined> {
  let stored: StoredFile | undefined;
  try {
    stored = stores[container.form].open(directory, container.name, file);
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof RefusalError)) throw error;
    report(file.kind, "corrupt");
    return undefined;
  }
  if (stored === undefined) {
    report(file.kind, "missing");
    return undefined;
  }
  let whole = false;
  try {
    whole = (await stateOfFile(stored, container[`${file.kind}Digest`], onBytes)) === "whole";
  } catch (error) {
    if (systemCode(error) !== "EIO") throw error;
  }
  if (whole) return stored;
  stored[Symbol.dispose]();
  report(file.kind, "corrupt");
  return undefined;
}

/** Footer and offsets of a tar; false where nothing else of it can be found. */
async function checkTar({ directory, container, onBytes }: ScrubOptions, report: Report): Promise<boolean> {
  const name = container.name + fileNames.tarSuffix;
  try {
    const tar = readTarFooter(directory, name);
    if (tar === undefined) {
      report("offsets", "missing");
      return false;
    }
    using file = tar.file;
    const start = tar.footer.recordsOffset - offsetsHeadBytes;
    const member = { ...file, offset: start, length: file.length - tarTrailerBytes - start };
    footerOffset(file.length);
    if ((await stateOfFile(member, tar.footer.digest, onBytes)) !== "whole") report("offsets", "corrupt");
    return true;
  } catch (error) {
    if (!(error instanceof FormatError) && systemCode(error) !== "EIO") throw error;
    report("offsets", "corrupt");
    return false;
  }
}

async function checkChunks(
  { directory, container, chunkSize, onBytes, signal }: ScrubOptions,
  records: Iterable<ListEntry>,
  report: Report,
): Promise<void> {
  using chunks = stores[container.form].chunks(directory, container.name);
  const into = new Uint8Array(maxStoredLength(chunkSize));
  let errors = 0;
  let sinceTurn = 0;
  for (const { address, storedLength, checksum } of records) {
    if (signal.aborted) return;
    const found = chunks === undefined ? undefined : readChunk(chunks, address, into);
    errors = found === "unreadable" ? errors + 1 : 0;
    if (errors > maxReadErrors)
      throw new RefusalError("io", `${errors} chunks in a row can't be read: the drive fails`);
    if (found === undefined) {
      report("chunk", "missing", address);
      continue;
    }
    const right =
      found instanceof Uint8Array &&
      found.length === storedLength &&
      equalBytes(hash("sha256", found, "buffer"), checksum);
    if (!right) report("chunk", "corrupt", address);
    onBytes(storedLength);
    sinceTurn += storedLength;
    if (sinceTurn < turnBytes) continue;
    sinceTurn = 0;
    await nextTurn();
  }
}

function readChunk(
  chunks: StoredChunks,
  address: ChunkAddress,
  into: Uint8Array,
): Uint8Array | "odd" | "unreadable" | undefined {
  try {
    const length = chunks.read(address, into);
    if (length === undefined) return undefined;
    return length > into.length ? "odd" : into.subarray(0, length);
  } catch (error) {
    if (error instanceof FormatError) return "odd";
    if (systemCode(error) === "EIO") return "unreadable";
    throw error;
  }
}

/** What lies in a session's directory and is of nothing: group by group, beside the list. */
async function findExtras(
  { directory, volume, container, chunkSize, trash }: ScrubOptions,
  records: Iterator<ListEntry, void, void>,
  report: Report,
): Promise<void> {
  using session = openIfThere(directory, container.name);
  if (session === undefined) return;
  let record = records.next().value ?? undefined;
  const groups = (await groupsOf(session)).toSorted();
  for (const group of groups) {
    const named = new Set<ChunkAddress>();
    while (record !== undefined && chunkPath(record.address).group <= group) {
      named.add(record.address);
      record = records.next().value ?? undefined;
    }
    using files = openIfThere(session, group);
    for (const name of files === undefined ? [] : namesIn(files)) {
      const address = parseChunkFile(name);
      if (address === undefined || chunkPath(address).group !== group) report("other", "extra");
      else if (!named.has(address) && !trash.isDeadChunk(volume, container.uid, address, chunkSize))
        report("chunk", "extra", address);
    }
    await nextTurn();
  }
  const known = new Set<string>([
    ...groups,
    fileNames.header,
    listFile(container.listGeneration),
    manifestFile(container.manifestGeneration),
  ]);
  for (const name of namesIn(session)) {
    if (known.has(name) && statOf(session, name) !== undefined) continue;
    // Older lists and manifests wait with what they are of.
    if (/^(?:list|manifest)(?:[.]\d+)?$/.test(name) && trash.waits) continue;
    report("other", "extra");
  }
}
