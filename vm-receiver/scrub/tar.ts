// The tar of a container, apart from the chunks that its list names: its offsets, what the index does not name in it, and
// every header and gap.

import {
  decodeOffsetsHead,
  footerOffset,
  isNowhere,
  offsetsHeadBytes,
  tarTrailerBytes,
} from "../../protocol/archive/tar-layout.ts";
import { listHeadBytes, listRecordBytes, listTailBytes } from "../../protocol/archive/list-file.ts";
import { fileNames } from "../../protocol/archive/names.ts";
import { decodePrefix, expectPrefix, prefixBytes } from "../../protocol/archive/prefix.ts";
import { type Digest, digestBytes, type Generation, maxStoredLength } from "../../protocol/archive/types.ts";
import { FormatError } from "../../protocol/errors.ts";
import { isDamage } from "../errors.ts";
import { readStretch, type StoredFile } from "../files.ts";
import { listRecords } from "../store/list-records.ts";
import { type TarLayout, tarLayout } from "../store/tar/layout.ts";
import { type OpenTar, readTarFooter } from "../store/tar/tar-reader.ts";
import { stateOfFile } from "../store/whole-file.ts";
import type { ScrubOptions } from "./options.ts";

export interface ScrubbedTar extends Disposable {
  /** Nothing in it can be found. */
  readonly isLost: boolean;
  /** undefined where what it is made of can't be told. */
  readonly layout?: TarLayout | undefined;
}

/** Checks footer, offsets and what lies superseded in the tar, and begins to look at its layout. */
export async function beginTar(options: ScrubOptions): Promise<ScrubbedTar> {
  const { directory, container, onBytes, onDamage } = options;
  const lost: ScrubbedTar = { isLost: true, [Symbol.dispose]: () => undefined };
  let tar: OpenTar | undefined;
  try {
    tar = readTarFooter(directory, container.name + fileNames.tarSuffix);
    if (tar === undefined) {
      onDamage("offsets", "missing");
      return lost;
    }
    const { file, footer } = tar;
    const start = footer.recordsOffset - offsetsHeadBytes;
    const member = { ...file, offset: start, length: file.length - tarTrailerBytes - start };
    footerOffset(file.length);
    const whole = (await stateOfFile(member, footer.digest, onBytes)) === "whole";
    if (!whole || !isOurs(options, tar)) onDamage("offsets", "corrupt");
    const layout = whole && (await checkMembers(options, tar)) ? await layoutOf(options, tar) : undefined;
    return { isLost: false, layout, [Symbol.dispose]: () => file[Symbol.dispose]() };
  } catch (error) {
    tar?.file[Symbol.dispose]();
    if (!isDamage(error)) throw error;
    onDamage("offsets", "corrupt");
    return lost;
  }
}

function isOurs({ volume, container }: ScrubOptions, { file, footer }: OpenTar): boolean {
  try {
    const head = readStretch(file, footer.recordsOffset - offsetsHeadBytes, offsetsHeadBytes);
    decodeOffsetsHead(head, { volume, session: container.uid });
    return true;
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}

/** Checks the first list and manifest, where later ones count: by themselves, for nothing names them. True where the
 *  list in the tar says what is in it. */
async function checkMembers(options: ScrubOptions, { file, footer }: OpenTar): Promise<boolean> {
  const { container, onDamage } = options;
  const { manifest, list, manifestGeneration } = footer;
  if (!isNowhere(manifest) && manifestGeneration !== container.manifestGeneration) {
    const right = await isWhole(options, { ...file, ...manifest }, "manifest", manifestGeneration);
    if (!right) onDamage("manifest", "stale", manifestGeneration);
  }
  const first = { ...file, ...list };
  // The one that counts is checked with the other files, and reported there.
  if (container.listGeneration === 0) return (await stateOfFile(first, container.listDigest)) === "whole";
  const right = await isWhole(options, first, "list");
  if (!right) onDamage("list", "stale", 0);
  return right;
}

async function isWhole(
  { volume, onBytes }: ScrubOptions,
  file: StoredFile,
  kind: "list" | "manifest",
  generation?: Generation,
): Promise<boolean> {
  try {
    const prefix = decodePrefix(readStretch(file, 0, prefixBytes));
    expectPrefix(prefix, { kind, volume, ...(generation === undefined ? {} : { generation }) });
    const stated = readStretch(file, file.length - digestBytes, digestBytes) as Digest;
    return (await stateOfFile(file, stated, onBytes)) === "whole";
  } catch (error) {
    if (isDamage(error)) return false;
    throw error;
  }
}

async function layoutOf(
  { volume, container, chunkSize, trash, onDamage }: ScrubOptions,
  tar: OpenTar,
): Promise<TarLayout> {
  const list = { ...tar.file, ...tar.footer.list };
  const count = Math.floor((list.length - listHeadBytes - listTailBytes) / listRecordBytes);
  return tarLayout({
    tar,
    name: container.name,
    records: listRecords(list, count),
    longest: maxStoredLength(chunkSize),
    isLeaving: (address) => trash.unreadable || trash.isDeadChunk(volume, container.uid, address, chunkSize),
    onMember: () => onDamage("member", "corrupt"),
    onDeadChunk: (address) => onDamage("chunk", "stale", address),
  });
}
