// The newest head and the indexes that it names, and the second copy of each: as long as one of the two is right nothing is
// lost, and what is damaged should be written anew while that is so.

import { decodeHead, type HeadVolume, maxHeadBytes } from "../../protocol/archive/head.ts";
import { maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import {
  headName,
  indexDecoder,
  indexName,
  indexText,
  integrity,
  type OpenArchive,
  readIndex,
  verified,
} from "../archive/archive.ts";
import { commitStep, nextGeneration } from "../archive/commit-step.ts";
import { copyName, type CopiedName, isDamage } from "../archive/read-or-copy.ts";

/** A file that is damaged, or gone, or a second copy that is damaged. */
export interface DamagedCopy {
  readonly why: string;
  /** The volume whose index it is; undefined: the head. */
  readonly entry: HeadVolume | undefined;
}

export interface CheckedCopies {
  readonly damaged: readonly DamagedCopy[];
  /** Files of which there is no copy. That is no damage: a command that was killed behind its commit has made none, and
   *  the next one that writes to the archive does. */
  readonly uncopied: readonly string[];
}

/** Reads the head, all indexes, and all copies. */
export async function checkCopies(open: OpenArchive): Promise<CheckedCopies> {
  const { head, headDigest, record, seal } = open;
  const damaged: DamagedCopy[] = [];
  const uncopied: string[] = [];
  const look = async (
    entry: HeadVolume | undefined,
    name: CopiedName,
    what: string,
    max: number,
    decode: (untrusted: Uint8Array) => unknown,
  ): Promise<void> => {
    for (const isCopy of [false, true]) {
      try {
        const raw = await open.client.readWhole(isCopy ? copyName(name) : name, max);
        if (raw !== undefined) decode(raw);
        else if (isCopy) uncopied.push(what);
        else throw integrity(`${what}: the receiver does not have it`);
      } catch (error) {
        if (!isDamage(error)) throw error;
        damaged.push({ why: isCopy ? `second copy, ${error.message}` : error.message, entry });
      }
    }
  };
  const { archive, generation } = head;
  const what = `head ${generation}`;
  await look(undefined, headName(generation), what, maxHeadBytes, (raw) => {
    if (!equalBytes(fileDigest(raw), headDigest)) throw integrity(`${what}: it is not the one that counts`);
    verified(what, () => decodeHead(raw, { archive, generation }));
  });
  for (const entry of head.volumes) {
    const decode = indexDecoder(entry, record.uuid, seal.opener);
    await look(entry, indexName(entry), indexText(entry), maxIndexBytes, decode);
  }
  return { damaged, uncopied };
}

/** Writes what is damaged anew, in a step of its own, where no other step has done so since `found` was found as of head
 *  `checked`. */
export async function writeAnew(
  open: OpenArchive,
  found: readonly DamagedCopy[],
  checked: number,
): Promise<void> {
  const entries = open.head.volumes.filter((now) =>
    found.some(
      ({ entry }) =>
        entry !== undefined &&
        equalBytes(entry.volume, now.volume) &&
        entry.indexGeneration === now.indexGeneration,
    ),
  );
  const isHeadDamaged = open.head.generation === checked && found.some(({ entry }) => entry === undefined);
  if (entries.length === 0 && !isHeadDamaged) return;
  const generation = nextGeneration(open);
  const indexes = [];
  for (const { volume, directory } of entries) {
    const index = await readIndex(open, volume);
    if (index !== undefined) indexes.push({ directory, index: { ...index, generation } });
  }
  await commitStep(open, { note: { what: "tag" }, indexes });
}
