// Temporary files that nothing is left of. The lab's guests have a file system that can't make them without a name.

import { closeSync, fstatSync, readdirSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openNameless } from "../../../dom0-agent/state/nameless-file.ts";
import { tempDir } from "../../support/temp-dir.ts";

test("a file that is nowhere in its directory", () => {
  using directory = tempDir();
  const fd = openNameless(join(directory.path, "name"));
  expect(readdirSync(directory.path)).toEqual([]);
  expect(fstatSync(fd).mode & 0o777).toBe(0o600);
  writeSync(fd, "text");
  const back = new Uint8Array(4);
  expect(readSync(fd, back, 0, 4, 0)).toBe(4);
  expect(Buffer.from(back).toString()).toBe("text");
  closeSync(fd);
  expect(readdirSync(directory.path)).toEqual([]);
});
