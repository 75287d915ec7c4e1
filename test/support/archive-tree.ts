// What lies in an archive, for tests that say that nothing, or exactly something, was changed.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** Every file below `path` with a digest of its bytes; the lock file, which says nothing, left out. */
export function treeOf(path: string): ReadonlyMap<string, string> {
  const files = readdirSync(path, { recursive: true })
    .map(String)
    .filter((each) => each !== "lock" && statSync(join(path, each)).isFile())
    .sort();
  return new Map(
    files.map((each) => [
      each,
      createHash("sha256")
        .update(readFileSync(join(path, each)))
        .digest("hex"),
    ]),
  );
}
