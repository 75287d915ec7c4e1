// The name that a restored file gets; what restores put into it is test/e2e/restore-save-to.

import fs, { readdirSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openSaveTarget } from "../../../dom0-agent/restore/save-target.ts";
import { tempDir } from "../../support/temp-dir.ts";

/** From now on, to the end of the test, the system answers this. */
function refuses(call: "linkSync" | "renameSync", code: string): void {
  const original = fs[call];
  fs[call] = () => {
    throw Object.assign(new Error(code), { code });
  };
  syncBuiltinESMExports();
  onTestFinished(() => {
    fs[call] = original;
    syncBuiltinESMExports();
  });
}

test("no hard links, and the file does not get its name: said, and nothing is left under it", async () => {
  using directory = tempDir();
  {
    const path = join(directory.path, "image");
    await using target = openSaveTarget({ path, size: 4096, dataBytes: 4096, force: false, update: false });
    // What FAT answers to the one, and a drive that goes bad just then to the other.
    refuses("linkSync", "EPERM");
    refuses("renameSync", "EIO");
    await expect(target.publish(() => undefined)).rejects.toThrow(/EIO/);
  }
  expect(readdirSync(directory.path)).toEqual([]);
});
