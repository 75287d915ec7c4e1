// What may befall the files of an archive.

import {
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

/** The files of the chunks of a session in a directory, in the order of their addresses. */
export function chunksOf(session: string): readonly string[] {
  return readdirSync(session)
    .filter((name) => /^[0-9a-f]{9}$/.test(name))
    .flatMap((group) => readdirSync(join(session, group)).map((name) => join(session, group, name)))
    .sort();
}

/** The file whose name matches, of several the one with the highest number: the one that counts. */
export function theOne(directory: string, pattern: RegExp): string {
  const names = readdirSync(directory).filter((name) => pattern.test(name));
  const [last = ""] = names.sort((a, b) => Number(b.split(".").at(-1)) - Number(a.split(".").at(-1)));
  return join(directory, last);
}

/** Flips bits of the byte at an offset; a negative one counts from the end. */
export const flipAt = (path: string, at: number, bits = 1): void => {
  const bytes = readFileSync(path);
  const i = at < 0 ? bytes.length + at : at;
  bytes.writeUInt8(bytes.readUInt8(i) ^ bits, i);
  writeFileSync(path, bytes);
};
/** Flips a bit; `part` is the part of the file that lies before it. */
export const flip = (path: string, part = 0.5): void =>
  flipAt(path, Math.floor(statSync(path).size * part), 0x10);
export const cut = (path: string): void => truncateSync(path, Math.floor(statSync(path).size / 2));
export const remove = (path: string): void => rmSync(path, { recursive: true });
export const swap = (a: string, b: string): void => {
  renameSync(a, `${a}.swapped`);
  renameSync(b, a);
  renameSync(`${a}.swapped`, b);
};
