// README.txt of every archive: what this is and how to get data out of it when nothing else is at hand. It is written
// after the first commit, so it also says that there was one. Its last line is a checksum of the others, so that also the text
// of another version of this program can be told from a damaged one.

import { createHash } from "node:crypto";
import { closeSync, fsyncSync } from "node:fs";
import { fileNames } from "../../protocol/archive/names.ts";
import { utf8 } from "../../protocol/wire/writer.ts";
import type { Directory } from "../directory.ts";
import { createFile, removeFile, statOf, writeAll } from "../files.ts";
import { publishFile } from "./publish.ts";
import { temporaries } from "./temporaries.ts";

const temporary = temporaries.readme;

/** Writes README.txt where it is not there. */
export function writeReadme(root: Directory): void {
  if (statOf(root, fileNames.readme) !== undefined) return;
  removeFile(root, temporary);
  const fd = createFile(root, temporary);
  try {
    writeAll(fd, utf8(readmeText));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  publishFile(root, temporary, root, fileNames.readme);
}

const text = `This directory is an archive of disk images, made by sparsebak.

To restore, use sparsebak in dom0, or, with nothing but this directory:

    spbk-assemble PATH-TO-VOLUME -o disk.img

What is here

    archive         format, identity and chunk size of the archive
    heads/N         the states of the archive; the highest number counts
    copies/         second copies of the newest head and indexes
    VOLUME/         one directory for each volume
      index.N       its sessions, as of head N; the one that the head names counts
      S_DATE-TIME/  one session: the chunks that were written to the archive at that time (UTC)
        manifest.N  what the volume looked like, as differences from the session before
        list        every chunk stored here, with its length and SHA-256
        header      time, size and identity of the session
        000000000/x0000000000000000 ...   the chunks
      S_DATE-TIME.tar   the same as one tar; GNU tar lists and extracts it

Files and directories that end in .part or begin with .tmp belong to a run that was cut short; the next one removes them.
Remove nothing else by hand: a session needs the chunks of the sessions before it.

Without any of our programs

In an archive that is not sealed, each chunk file is a Zstandard frame (RFC 8878) of one piece of the disk, and its name is
the piece's offset in bytes, in hexadecimal, behind an x. What no file covers is zero. So the oldest session alone gives
a whole image:

    for f in S_20260101-000000/*/x*; do
        zstd -dc "$f" | dd of=disk.img bs=64K oflag=seek_bytes conv=notrunc seek=$((16#$(basename "$f" | tail -c 17)))
    done

and each later one, in the order of time, is laid over it in the same way. That leaves out what only the manifests know:
pieces that became zero again, pieces that equal another one and were not stored twice, and the size of the volume. The
format of every file is described in docs/archive-format.md of the source.

The chunks of a sealed archive can be read only with its key. To spbk-assemble it is given with --key FILE (the read key of
one volume) or with --passphrase-file FILE (passphrase or recovery form, which open all: only where there is no network).

`;

/** What the file holds. */
export const readmeText: string = withChecksum(text);

/** True for a text, whichever, that is what its last line says. */
export function isReadme(untrusted: string): boolean {
  const end = untrusted.lastIndexOf("\n", untrusted.length - 2) + 1;
  return untrusted === withChecksum(untrusted.slice(0, end));
}

function withChecksum(lines: string): string {
  return `${lines}SHA-256 of the lines above: ${createHash("sha256").update(lines, "latin1").digest("hex")}\n`;
}
