// What --scrub and --untrash share: the archive opened as the receiver opens it, one state of it, and its header from
// wherever one can still be read.

import { realpathSync } from "node:fs";
import { type ArchiveHeader, decodeArchiveHeader } from "../../protocol/archive/archive-header.ts";
import type { Head } from "../../protocol/archive/head.ts";
import { archiveFile } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { InternalError } from "../../protocol/errors.ts";
import { type Directory, openAbsolute, openIfDirectory } from "../directory.ts";
import { isDamage, RefusalError, systemCode } from "../errors.ts";
import { readWhole } from "../files.ts";
import { type Archive, maxArchiveHeaderBytes, openArchive } from "../store/archive.ts";
import { AssembleError } from "./errors.ts";
import { printable } from "./printable.ts";

/** Opens the archive at `path` as of its newest head, or of head `wanted`. Throws AssembleError `no-archive`,
 *  `corrupt-head`. */
export function openChecked(path: string, wanted?: Generation): Archive {
  let root: Directory | undefined;
  try {
    root = openAbsolute(realpathSync(path));
    const archive = openArchive(root, wanted);
    if (archive.current !== undefined) return archive;
    throw new AssembleError(
      "no-archive",
      wanted === undefined
        ? `no archive here, ${printable(path)}`
        : `archive has no head ${wanted}, ${printable(path)}`,
    );
  } catch (error) {
    root?.[Symbol.dispose]();
    if (error instanceof RefusalError)
      throw new AssembleError(
        "corrupt-head",
        `${error.message}, ${printable(path)}`,
        "--head N takes an older state",
        {
          cause: error,
        },
      );
    const code = systemCode(error);
    if (code === undefined) throw error;
    throw new AssembleError("no-archive", `no archive can be opened here: ${code}, ${printable(path)}`);
  }
}

/** What ^C ends it with. */
export function stopped(): AssembleError {
  return new AssembleError("stopped", "stopped");
}

/** Runs `read`, which works as the receiver does: what that refuses is said as what it is to spbk-assemble. Throws
 *  AssembleError `corrupt-archive`, `io`. */
export async function orRefused<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof RefusalError)) throw error;
    const code = error.code === "io" ? "io" : "corrupt-archive";
    throw new AssembleError(code, `${error.message}, ${printable(path)}`, undefined, { cause: error });
  }
}

/** The head that the archive was opened as of. */
export function headOf({ current }: Archive): Head {
  if (current === undefined) throw new InternalError("an archive without a head was opened");
  return current.head;
}

/** State of the header that a head names, in a directory: the archive's, or a volume's with its copy. */
export function headerIn(
  directory: Directory,
  head: Head,
): { readonly state: "whole" | "missing" | "corrupt"; readonly header?: ArchiveHeader } {
  try {
    const bytes = readWhole(directory, archiveFile(head.archiveGeneration), maxArchiveHeaderBytes);
    if (bytes === undefined) return { state: "missing" };
    const header = decodeArchiveHeader(bytes);
    if (!equalBytes(fileDigest(bytes), head.archiveDigest)) return { state: "corrupt" };
    return { state: "whole", header };
  } catch (error) {
    if (isDamage(error)) return { state: "corrupt" };
    throw error;
  }
}

/** The header, or the first copy that is whole. */
export function anyHeader(archive: Archive, head: Head): ArchiveHeader | undefined {
  const own = headerIn(archive.root, head).header;
  if (own !== undefined) return own;
  for (const { directory } of head.volumes) {
    using volume = openIfDirectory(archive.root, directory);
    const copy = volume && headerIn(volume, head).header;
    if (copy !== undefined) return copy;
  }
  return undefined;
}
