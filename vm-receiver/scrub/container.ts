// Checking one container against the index, byte for byte, without any key: its files by their digests, every stored chunk
// by the list, and that nothing lies there that shouldn't. Damage is reported and goes on; it is never an error.

import { hash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type ListEntry,
  listHeadBytes,
  listRecordBytes,
  listTailBytes,
} from "../../protocol/archive/list-file.ts";
import { type ChunkAddress, maxStoredLength } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { isDamage, RefusalError } from "../errors.ts";
import type { StoredFile } from "../files.ts";
import { listRecords } from "../store/list-records.ts";
import type { SessionFile } from "../store/store.ts";
import type { StoredChunks } from "../store/stored-chunks.ts";
import { stores } from "../store/stores.ts";
import { stateOfFile } from "../store/whole-file.ts";
import { findExtras } from "./extras.ts";
import type { ScrubOptions } from "./options.ts";
import { beginTar } from "./tar.ts";

const turnBytes = 8 * 1024 * 1024;
/** One sector that can't be read is damage; so many in a row are a drive that is going. */
const maxReadErrors = 16;

/** Checks it. Throws what the system throws where that is no damage of a file; RefusalError `io` where the drive fails. */
export async function scrubContainer(options: ScrubOptions): Promise<void> {
  const { container, onDamage: report } = options;
  using tar = container.form === "tar" ? await beginTar(options) : undefined;
  if (tar?.isLost === true) return;
  const { manifestGeneration, listGeneration, headerDigest } = container;
  if (manifestGeneration !== 0) {
    using _header = await checkFile(options, { kind: "header" }, 0);
    using _manifest = await checkFile(
      options,
      { kind: "manifest", generation: manifestGeneration },
      manifestGeneration,
    );
  } else if (headerDigest.some((byte) => byte !== 0)) {
    // Of a session that was pruned nobody needs the header any more, and it goes with the manifest.
    using header = await checkFile(options, { kind: "header" }, 0, "stale");
    const { volume, trash } = options;
    const waits = trash.unreadable || trash.isDeadHeader(volume, container.uid);
    if (header !== undefined && container.form === "dir" && !waits) report("header", "extra");
  }
  using list = await checkFile(options, { kind: "list", generation: listGeneration }, listGeneration);
  if (list === undefined) return;
  const count = Math.floor((list.length - listHeadBytes - listTailBytes) / listRecordBytes);
  await checkChunks(options, listRecords(list, count), (address) => tar?.layout?.upTo(address));
  if (options.signal.aborted) return;
  await tar?.layout?.finish();
  if (container.form === "dir") await findExtras(options, listRecords(list, count), report);
}

/** Opens and checks a file; gives it where it is whole. */
async function checkFile(
  { directory, container, onBytes, onDamage }: ScrubOptions,
  file: SessionFile,
  number: number,
  corrupt: "corrupt" | "stale" = "corrupt",
): Promise<StoredFile | undefined> {
  let stored: StoredFile | undefined;
  try {
    stored = stores[container.form].open(directory, container.name, file);
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof RefusalError)) throw error;
    onDamage(file.kind, corrupt, number);
    return undefined;
  }
  if (stored === undefined) {
    if (corrupt === "corrupt") onDamage(file.kind, "missing", number);
    return undefined;
  }
  let whole = false;
  try {
    whole = (await stateOfFile(stored, container[`${file.kind}Digest`], onBytes)) === "whole";
  } catch (error) {
    if (!isDamage(error)) throw error;
  }
  if (whole) return stored;
  stored[Symbol.dispose]();
  onDamage(file.kind, corrupt, number);
  return undefined;
}

async function checkChunks(
  { directory, container, chunkSize, onBytes, onDamage, signal }: ScrubOptions,
  records: Iterable<ListEntry>,
  before: (address: ChunkAddress) => void,
): Promise<void> {
  using chunks = stores[container.form].chunks(directory, container.name);
  const into = new Uint8Array(maxStoredLength(chunkSize));
  let errors = 0;
  let sinceTurn = 0;
  for (const { address, storedLength, checksum } of records) {
    if (signal.aborted) return;
    before(address);
    const found = chunks === undefined ? undefined : readChunk(chunks, address, into);
    errors = found === "unreadable" ? errors + 1 : 0;
    if (errors > maxReadErrors)
      throw new RefusalError("io", `${errors} chunks in a row can't be read: the drive fails`);
    if (found === undefined) {
      onDamage("chunk", "missing", address);
      continue;
    }
    const right =
      found instanceof Uint8Array &&
      found.length === storedLength &&
      equalBytes(hash("sha256", found, "buffer"), checksum);
    if (!right) onDamage("chunk", "corrupt", address);
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
    if (isDamage(error)) return "unreadable";
    throw error;
  }
}
