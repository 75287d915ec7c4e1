// How things are called below the archive's directory (docs/archive-format.md, "Names"). Every name that comes from
// the other side passes through one of these before it is used as a file name.

import { FormatError } from "../errors.ts";
import { type Codec, text } from "../wire/codec.ts";
import type { ChunkAddress, Generation, SessionName } from "./types.ts";

const sessionPattern = /^S_\d{8}-\d{6}$/;

export const sessionName: Codec<SessionName> = text<SessionName>(17, sessionPattern);

/** The session name for a time from 0 to maxTime, in UTC, fractions of a second dropped. */
export function sessionNameAt(milliseconds: number): SessionName {
  const iso = new Date(milliseconds).toISOString();
  return `S_${iso.slice(0, 10).replaceAll("-", "")}-${iso.slice(11, 19).replaceAll(":", "")}` as SessionName;
}

/** True for `S_YYYYMMDD-HHMMSS`. */
export function isSessionName(value: string): value is SessionName {
  return sessionPattern.test(value);
}

/** Names at the top of the archive that no volume directory may take, in lower case. */
const reserved = new Set(["archive", "heads", "dead", "lock", "readme.txt", "assembled", "trash", "copies"]);
/** `archive.N` as well. */
const reservedPattern = /^archive[.]\d+$/;

/** A volume's directory: 1 to 200 bytes of `A-Za-z0-9+_.-` and `%XX`, not hidden, not reserved, without a dot at its
 *  end, which FAT drops. */
const directoryPattern = /^(?![.])(?!.*[.]$)(?:[A-Za-z0-9+_.-]|%[0-9A-F]{2})+$/;
const maxDirectoryBytes = 200;

/** Bytes of a volume's name, in UTF-8: enough for any LV name and for a path of image files. */
export const maxVolumeNameBytes = 1024;

// eslint-disable-next-line no-control-regex -- control characters are what the pattern keeps out
const volumeNamePattern = /^(?!\/)(?!.*(?:^|\/)\.{0,2}(?:\/|$))[^\u0000-\u001f\u007f]+$/su;

/** A volume's name: an LV name, or a relative path without empty, `.` or `..` parts and control characters. */
export const volumeName: Codec<string> = text(maxVolumeNameBytes, volumeNamePattern);

/** True for what `volumeName` accepts, its length apart. */
export function isVolumeName(value: string): boolean {
  return (
    value.isWellFormed() &&
    volumeNamePattern.test(value) &&
    new TextEncoder().encode(value).length <= maxVolumeNameBytes
  );
}

/** True for what a volume's directory may be called. */
export function isDirectoryName(value: string): boolean {
  return (
    value.length <= maxDirectoryBytes && directoryPattern.test(value) && !isReserved(value.toLowerCase())
  );
}

function isReserved(lower: string): boolean {
  return reserved.has(lower) || reservedPattern.test(lower);
}

export const directoryName: Codec<string> = {
  write: (w, v) => {
    checkDirectoryName(v);
    text(maxDirectoryBytes).write(w, v);
  },
  read: (r, what) => {
    const value = text(maxDirectoryBytes).read(r, what);
    checkDirectoryName(value);
    return value;
  },
};

function checkDirectoryName(value: string): void {
  if (!isDirectoryName(value))
    throw new FormatError("bad-value", "a volume's directory of a form that is not allowed");
}

/**
 * The directory for a volume in an archive that is not sealed: its name, with what a file system or a reader might
 * trip over as %XX. `taken` are the directories that exist; names that differ from one of them only in case get
 * a numbered suffix, because FAT and exFAT don't tell them apart. Longer names are cut and numbered.
 */
export function directoryFor(name: string, taken: readonly string[]): string {
  const escaped = [...new TextEncoder().encode(name)]
    .map((byte, i, all) => {
      const char = String.fromCharCode(byte);
      const plain = /[A-Za-z0-9+_-]/.test(char) || (char === "." && i > 0 && i < all.length - 1);
      return plain ? char : percent(byte);
    })
    .join("");
  const whole = isReserved(escaped.toLowerCase())
    ? percent(escaped.charCodeAt(0)) + escaped.slice(1)
    : escaped;
  const lower = new Set(taken.map((each) => each.toLowerCase()));
  const cut =
    whole.length <= maxDirectoryBytes - 12
      ? whole
      : whole.slice(0, maxDirectoryBytes - 12).replace(/%.?$/, "");
  for (let i = 1; ; i++) {
    const candidate = i === 1 && cut === whole ? whole : `${cut}+${i}`;
    if (!lower.has(candidate.toLowerCase())) return candidate;
  }
}

function percent(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

/** Where a chunk of `address` lies below its session: a group of 2^28 bytes of addresses, then the chunk. */
export function chunkPath(address: ChunkAddress): { readonly group: string; readonly file: string } {
  const hex = address.toString(16).padStart(16, "0");
  return { group: hex.slice(0, 9), file: `x${hex}` };
}

/** The address that a chunk's file name spells, or undefined when it spells none: a multiple of 64 KiB below 2^53. */
export function parseChunkFile(file: string): ChunkAddress | undefined {
  if (!/^x00[01][0-9a-f]{9}0000$/.test(file)) return undefined;
  return Number.parseInt(file.slice(1), 16) as ChunkAddress;
}

/** Names of the files of a session, a volume and the archive. */
export const fileNames = {
  archive: "archive",
  readme: "README.txt",
  heads: "heads",
  dead: "dead",
  lock: "lock",
  assembled: "assembled",
  trash: "trash",
  copies: "copies",
  header: "header",
  list: "list",
  offsets: "offsets",
  /** Behind the name of a session that is being written and that no head names. */
  partSuffix: ".part",
  tarSuffix: ".tar",
} as const;

/** What the image of a session is called below `assembled/`. */
export function assembledFile(directory: string, session: SessionName): string {
  return `${directory}.${session}.img`;
}

/** `index.N` in the volume's directory. */
export function indexFile(generation: Generation): string {
  return `index.${generation}`;
}

/** `archive`, or `archive.N` once key slots have been changed; in the archive and, as a copy, in volumes' directories. */
export function archiveFile(generation: Generation): string {
  return generation === 0 ? fileNames.archive : `${fileNames.archive}.${generation}`;
}

/** The generation that `archive` or `archive.N` names, or undefined. */
export function parseArchiveFile(untrusted: string): Generation | undefined {
  if (untrusted === fileNames.archive) return 0 as Generation;
  return untrusted.startsWith(`${fileNames.archive}.`)
    ? parseGeneration(untrusted.slice(fileNames.archive.length + 1))
    : undefined;
}

/** `list`, or `list.N` after a prune took chunks of it; in the session, or behind the name of its tar and a dot. */
export function listFile(generation: Generation): string {
  return generation === 0 ? fileNames.list : `${fileNames.list}.${generation}`;
}

/** `manifest.N` in the session; one that a prune wrote for a tar lies beside it, behind the name of the tar and a dot. */
export function manifestFile(generation: Generation): string {
  return `manifest.${generation}`;
}

/** A later list or manifest of a session in tar form: in the volume's directory, named after the tar. */
export function besideTar(name: SessionName, file: string): string {
  return `${name}${fileNames.tarSuffix}.${file}`;
}

/** True for what `besideTar` gives for some list or manifest of that session. */
export function isBesideTar(name: SessionName, untrusted: string): boolean {
  const start = `${name}${fileNames.tarSuffix}.`;
  const [, number] = /^(?:list|manifest)[.](\d+)$/.exec(untrusted.slice(start.length)) ?? [];
  return untrusted.startsWith(start) && number !== undefined && parseGeneration(number) !== undefined;
}

/** The generation that `heads/N`, `index.N` or `manifest.N` names, or undefined when the text is no such number. */
export function parseGeneration(untrusted: string): Generation | undefined {
  if (!/^[1-9]\d{0,15}$/.test(untrusted)) return undefined;
  const value = Number(untrusted);
  return Number.isSafeInteger(value) ? (value as Generation) : undefined;
}
