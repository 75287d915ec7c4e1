// From a read key, a passphrase or a recovery form to what opens the archive: the one file of the VM's side, beside the
// worker that opens chunks, that may import protocol/seal (design section 8, "Reading in a VM").

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type { ArchiveHeader } from "../../protocol/archive/archive-header.ts";
import { headMacInput } from "../../protocol/archive/head.ts";
import type { ArchiveUuid } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { fileOpener, volumeOpener } from "../../protocol/seal/file-seal.ts";
import { archiveKeys, groupKey, macFits, sealedIdKey } from "../../protocol/seal/keys.ts";
import { decodeReadKey, maxReadKeyText, type ReadKey } from "../../protocol/seal/read-key.ts";
import { isMasterOf, masterFromSecret } from "../../protocol/seal/secret.ts";
import { AssembleError, systemCode } from "./errors.ts";
import type { ChunkKeys, OpenKeys } from "./open-keys.ts";
import { printable } from "./printable.ts";

/** The read key in a file, or behind a descriptor that is open. Throws AssembleError. */
export function readKeyFrom(source: string | number): ReadKey {
  const raw = readSecret("key", source);
  try {
    return decodeReadKey(raw);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const hint = "in dom0, sparsebak key --export VOLUME prints one: five lines of text";
    throw new AssembleError("wrong-key", `${error.message}, ${placeOf(source)}`, hint, { cause: error });
  }
}

/** The passphrase or recovery form in a file, without the line end behind it, read as dom0 reads it. `warn` hears of a file
 *  that others can read. Throws AssembleError. */
export function passphraseFrom(path: string, warn: (message: string) => void): string {
  const raw = readSecret("passphrase", path, (mode) =>
    warn(`others on this system can read the passphrase (mode ${mode}), ${path}`),
  );
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(raw).replace(/\r?\n$/, "");
  } catch (error) {
    const what = `passphrase is not UTF-8 text, ${printable(path)}`;
    throw new AssembleError("usage", what, undefined, { cause: error });
  }
}

function placeOf(source: string | number): string {
  return typeof source === "number" ? `descriptor ${source}` : printable(source);
}

function readSecret(what: string, source: string | number, onExposed?: (mode: string) => void): Uint8Array {
  const shown = placeOf(source);
  try {
    const fd = typeof source === "number" ? source : openSync(source, constants.O_RDONLY);
    try {
      const stat = fstatSync(fd);
      if (stat.isFile() && (stat.mode & 0o077) !== 0) onExposed?.((stat.mode & 0o777).toString(8));
      const bytes = new Uint8Array(maxReadKeyText + 1);
      let length = 0;
      for (let got = -1; got !== 0 && length < bytes.length; length += got)
        got = readSync(fd, bytes, length, bytes.length - length, null);
      if (length > maxReadKeyText)
        throw new AssembleError("usage", `${what}: more than ${maxReadKeyText} bytes, ${shown}`);
      return bytes.subarray(0, length);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    throw new AssembleError("usage", `${what} can't be read: ${code}, ${shown}`);
  }
}

/** The name of a volume's directory in a sealed archive. */
export function sealedDirectory(key: ReadKey): string {
  return toHex(key.volume);
}

function isSealedDirectory(name: string): boolean {
  return /^[0-9a-f]{32}$/.test(name);
}

/** Keys from a read key. */
export function keysOfReadKey(key: ReadKey): OpenKeys {
  return {
    opener: volumeOpener(key.metaKey, key.archive, key.volume),
    check: ({ uuid }, _head, volumeDirectory) => {
      if (!equalBytes(key.archive, uuid)) throw new AssembleError("wrong-key", "key is of another archive");
      const own = sealedDirectory(key);
      // A volume's directory that was copied alone may be called anything.
      if (volumeDirectory === undefined || volumeDirectory === own || !isSealedDirectory(volumeDirectory))
        return;
      throw new AssembleError(
        "wrong-key",
        `key is of another volume: of ${own}, wanted that of ${volumeDirectory}`,
        "with a read key the archive's path is enough, and the key says which volume is meant",
      );
    },
    chunkKeys: (group) => {
      if (equalBytes(group, key.group)) return chunkKeys(key.groupKey, key.archive);
      throw new AssembleError(
        "wrong-key",
        "key is of another group of volumes: the volume has changed its group since the key was exported",
        "export a new key in dom0: sparsebak key --export",
      );
    },
  };
}

/** Keys from a passphrase or a recovery form. Throws AssembleError `wrong-key`, or `corrupt-archive` for a slot that was
 *  altered. */
export function keysOfSecret(header: ArchiveHeader, secret: string): OpenKeys {
  const master = explained(() => masterFromSecret(header, secret));
  if (master === undefined)
    throw new AssembleError(
      "wrong-key",
      "passphrase does not open the archive",
      "is it that of another archive, or was it changed? The recovery form of the key opens it too",
    );
  const { uuid } = header;
  return {
    opener: fileOpener(master),
    check: (current, head) => {
      if (!isMasterOf(current, master))
        throw new AssembleError("corrupt-archive", "archive header was not made with the archive's key");
      if (head !== undefined && !macFits(archiveKeys(master, uuid).head, headMacInput(head), head.mac))
        throw new AssembleError(
          "corrupt-head",
          `head ${head.generation} was not made with the archive's key`,
        );
    },
    chunkKeys: (group) => chunkKeys(groupKey(master, uuid, group), uuid),
  };
}

function chunkKeys(key: Uint8Array, archive: ArchiveUuid): ChunkKeys {
  return { idKey: sealedIdKey(key, archive), sealed: { archive, groupKey: key } };
}

function explained<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const altered = error.code === "bad-mac";
    throw new AssembleError(altered ? "corrupt-archive" : "wrong-key", error.message, undefined, {
      cause: error,
    });
  }
}
