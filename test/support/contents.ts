// What a directory holds, to be compared with what it held before.

import { readdirSync, readFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";

/** The SHA-256 of every file below a directory, by its path in there. */
export function contentsOf(path: string): Record<string, string> {
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  return Object.fromEntries(
    files.map((each) => {
      const file = join(each.parentPath, each.name);
      return [file.slice(path.length + 1), createHash("sha256").update(readFileSync(file)).digest("hex")];
    }),
  );
}
