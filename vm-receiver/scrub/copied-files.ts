// The newest head and the indexes that it names, and the second copy of each (archive-format.md, F38): as long as one of
// the two is right nothing is lost. Copies of older states, and those of which a command was cut short, are left over.

import type { Head } from "../../protocol/archive/head.ts";
import { maxHeadBytes } from "../../protocol/archive/head.ts";
import { maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { fileNames, indexFile, parseGeneration } from "../../protocol/archive/names.ts";
import { isFileOf } from "../../protocol/archive/prefix.ts";
import type { Digest, VolumeId } from "../../protocol/archive/types.ts";
import { type Directory, namesIn, openIfDirectory } from "../directory.ts";
import { isDamage } from "../errors.ts";
import { readWhole, statOf } from "../files.ts";
import { isTemporary, type Say } from "./found.ts";

interface Copied {
  readonly kind: "head" | "index";
  readonly file: string;
  readonly number: number;
  readonly digest: Digest;
  readonly max: number;
  readonly volume?: VolumeId;
}

/** Says what is damaged of them: `corrupt` or `missing` of the file itself, `stale` of a copy. `onUncopied` hears, by its
 *  path below the archive, of a copy that is not there, which is no damage. */
export function checkCopied(
  root: Directory,
  { head, digest }: { readonly head: Head; readonly digest: Digest },
  say: Say,
  onBytes: (bytes: number) => void,
  onUncopied: (path: string) => void = () => undefined,
): void {
  const wanted = new Map<string, Copied>(
    head.volumes.map(({ directory, volume, indexGeneration: number, indexDigest }) => [
      directory,
      { kind: "index", file: indexFile(number), number, digest: indexDigest, max: maxIndexBytes, volume },
    ]),
  );
  const number = head.generation;
  wanted.set(fileNames.heads, { kind: "head", file: String(number), number, digest, max: maxHeadBytes });
  for (const [directory, each] of wanted) {
    using own = openIfDirectory(root, directory);
    const state = own === undefined ? "missing" : stateOf(own, each, onBytes);
    if (state !== "whole") say(`${directory}/${each.file}`, each.kind, state, each);
  }
  using copies = openIfDirectory(root, fileNames.copies);
  for (const [directory, { file }] of wanted) {
    using place = copies && openIfDirectory(copies, directory);
    if (place === undefined || statOf(place, file) === undefined)
      onUncopied(`${fileNames.copies}/${directory}/${file}`);
  }
  for (const name of copies === undefined ? [] : [...namesIn(copies)].toSorted()) {
    if (copies === undefined || statOf(copies, name)?.isDirectory() !== true) {
      say(`${fileNames.copies}/${name}`, "other", isTemporary(name) ? "leftover" : "extra");
      continue;
    }
    using place = openIfDirectory(copies, name);
    if (place !== undefined) checkPlace(`${fileNames.copies}/${name}`, place, wanted.get(name), say, onBytes);
  }
}

/** The copies of what lies in one directory. */
function checkPlace(
  where: string,
  place: Directory,
  wanted: Copied | undefined,
  say: Say,
  onBytes: (bytes: number) => void,
): void {
  for (const name of [...namesIn(place)].toSorted()) {
    const path = `${where}/${name}`;
    if (name === wanted?.file) {
      if (stateOf(place, wanted, onBytes) === "corrupt") say(path, wanted.kind, "stale", wanted);
    } else say(path, "other", isTemporary(name) || isNumbered(name) ? "leftover" : "extra");
  }
}

function isNumbered(name: string): boolean {
  return parseGeneration(name.startsWith("index.") ? name.slice("index.".length) : name) !== undefined;
}

function stateOf(
  place: Directory,
  { file, max, digest }: Copied,
  onBytes: (bytes: number) => void,
): "whole" | "missing" | "corrupt" {
  try {
    const bytes = readWhole(place, file, max);
    if (bytes === undefined) return "missing";
    onBytes(bytes.length);
    return isFileOf(bytes, digest) ? "whole" : "corrupt";
  } catch (error) {
    if (isDamage(error)) return "corrupt";
    throw error;
  }
}
