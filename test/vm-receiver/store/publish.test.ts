// Where there are no hard links a rename gives a file its name. What says that there are none differs: sshfs says EACCES
// where what it is mounted from is FAT. Nothing here is, so linking is a mock.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { openAbsolute } from "../../../vm-receiver/directory.ts";
import { publishFile } from "../../../vm-receiver/store/publish.ts";
import { tempDir } from "../../support/temp-dir.ts";

const disk = vi.hoisted(() => ({ code: "" }));

vi.mock("node:fs", async (original) => ({
  ...(await original<typeof import("node:fs")>()),
  linkSync: () => {
    throw Object.assign(new Error(`${disk.code}: link`), { code: disk.code });
  },
}));

test.each(["EPERM", "EACCES"])("%s: no hard links, so it is renamed, and replaces nothing", (code) => {
  using directory = tempDir();
  using opened = openAbsolute(directory.path);
  disk.code = code;
  writeFileSync(join(directory.path, "new"), "1");
  publishFile(opened, "new", opened, "name");
  expect(readdirSync(directory.path)).toEqual(["name"]);
  writeFileSync(join(directory.path, "new"), "2");
  expect(() => publishFile(opened, "new", opened, "name")).toThrow("nothing is ever replaced");
  expect(readFileSync(join(directory.path, "name"), "utf8")).toBe("1");
});
