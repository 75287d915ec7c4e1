// Every salt and nonce in an archive, over its life: no sealed object may have those of another (docs/security.md, S11), be
// that one still there or pruned long ago. Keys are derived from the salts, so equal salts under different groups or
// volumes would be harmless; they are counted all the same. A copy of an object, byte for byte, is that object.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { crc32 } from "node:zlib";
import { decodeArchiveHeader } from "../../protocol/archive/archive-header.ts";
import { decodePrefix, sha256 } from "../../protocol/archive/prefix.ts";
import { toHex } from "../../protocol/bytes.ts";

export interface NonceAudit {
  /** Looks at all objects of a sealed archive, in directories and in tars. */
  look(archive: string): void;
  /** Different sealed files, chunks and key slots that were ever looked at. */
  readonly files: number;
  readonly chunks: number;
  readonly slots: number;
  /** What two objects have in common: their paths. */
  readonly repeated: readonly string[];
  /** Files that should be sealed and are not. */
  readonly unsealed: readonly string[];
}

/** An audit that has seen nothing. It remembers what it sees for as long as it is kept. */
export function nonceAudit(): NonceAudit {
  const seen = new Map<string, { readonly path: string; readonly digest: string }>();
  const repeated: string[] = [];
  const unsealed: string[] = [];
  const count = { files: 0, chunks: 0, slots: 0 };
  const note = (kind: keyof typeof count, key: Uint8Array, object: Uint8Array, path: string): void => {
    const digest = toHex(sha256(object));
    const before = seen.get(toHex(key));
    if (before?.digest === digest) return;
    if (before !== undefined) repeated.push(`${before.path} and ${path}`);
    seen.set(toHex(key), { path, digest });
    count[kind]++;
  };
  const look = (directory: string): void => {
    for (const name of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
      const path = join(directory, name);
      if (!statSync(path).isFile()) continue;
      const bytes = (): Uint8Array => new Uint8Array(readFileSync(path));
      if (name.endsWith(".tar")) inTar(path, look);
      else if (/^x[0-9a-f]{16}$/.test(basename(name))) {
        const chunk = bytes();
        if (isWhole(chunk)) note("chunks", chunk.subarray(0, 28), chunk, path);
      } else if (/^archive(\.\d+)?$/.test(basename(name))) {
        // scrypt makes the key of a slot's salt and the passphrase, which may be the same one.
        for (const slot of decodeArchiveHeader(bytes()).slots)
          note("slots", new Uint8Array([...slot.salt, ...slot.nonce]), slot.wrapped, path);
      } else if (/(^|\/|\.)(index\.\d+|manifest\.\d+|header)$/.test(name)) {
        const prefix = decodePrefix(bytes());
        if (prefix.protection === "sealed") note("files", prefix.salt, bytes(), path);
        else unsealed.push(path);
      }
    }
  };
  return {
    look,
    repeated,
    unsealed,
    get files() {
      return count.files;
    },
    get chunks() {
      return count.chunks;
    },
    get slots() {
      return count.slots;
    },
  };
}

/** False for what a prune has left of a chunk in a tar: its room was given back, and reads as zeros. */
function isWhole(chunk: Uint8Array): boolean {
  const crc = new DataView(chunk.buffer, chunk.byteOffset + chunk.length - 4).getUint32(0);
  return crc32(chunk.subarray(0, -4)) === crc;
}

function inTar(path: string, look: (directory: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), "nonce-audit-"));
  try {
    const done = spawnSync("tar", ["-xf", path, "-C", directory], { encoding: "utf8" });
    if (done.status !== 0) throw new Error(`tar: ${done.stderr}`);
    look(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
