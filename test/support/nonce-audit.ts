// Every salt and nonce in an archive: no sealed object may have those of another (docs/security.md, S11). Keys are
// derived from the salts, so equal salts under different groups or volumes would be harmless; they are counted all the same.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { decodePrefix } from "../../protocol/archive/prefix.ts";

export interface NonceAudit {
  /** Sealed files and chunks that were looked at. */
  readonly files: number;
  readonly chunks: number;
  /** What two objects have in common: their paths. */
  readonly repeated: readonly string[];
  /** Files that should be sealed and are not. */
  readonly unsealed: readonly string[];
}

/** Looks at all objects of a sealed archive, in directories and in tars. */
export function auditNonces(archive: string): NonceAudit {
  const seen = new Map<string, string>();
  const repeated: string[] = [];
  const unsealed: string[] = [];
  const count = { files: 0, chunks: 0 };
  const note = (key: string, path: string): void => {
    const before = seen.get(key);
    if (before !== undefined) repeated.push(`${before} and ${path}`);
    seen.set(key, path);
  };
  const walk = (directory: string): void => {
    for (const name of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
      const path = join(directory, name);
      if (!statSync(path).isFile()) continue;
      if (name.endsWith(".tar")) inTar(path, walk);
      else if (/^x[0-9a-f]{16}$/.test(basename(name))) {
        count.chunks++;
        note(readFileSync(path).subarray(0, 28).toString("hex"), path);
      } else if (/(^|\/|\.)(index\.\d+|manifest\.\d+|header)$/.test(name)) {
        const prefix = decodePrefix(readFileSync(path));
        if (prefix.protection !== "sealed") unsealed.push(path);
        count.files++;
        note(Buffer.from(prefix.salt).toString("hex"), path);
      }
    }
  };
  walk(archive);
  return { ...count, repeated, unsealed };
}

function inTar(path: string, walk: (directory: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), "nonce-audit-"));
  try {
    const done = spawnSync("tar", ["-xf", path, "-C", directory], { encoding: "utf8" });
    if (done.status !== 0) throw new Error(`tar: ${done.stderr}`);
    walk(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
