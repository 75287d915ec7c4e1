// The settings are replaced whole and stay their owner's; what a killed run has left is in nobody's way, and nothing
// else is touched.

import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { replaceSettings } from "../../../dom0-agent/config/replace-settings.ts";
import { tempDir } from "../../support/temp-dir.ts";

const isRoot = process.getuid?.() === 0;

interface Place extends Disposable {
  readonly directory: string;
  readonly ini: string;
  /** What a new file is called until it is complete. */
  readonly next: string;
}

function place(): Place {
  const { path, [Symbol.dispose]: dispose } = tempDir();
  const ini = join(path, "sparsebak.ini");
  writeFileSync(ini, "old");
  chmodSync(ini, 0o640);
  return { directory: path, ini, next: `${ini}.new`, [Symbol.dispose]: dispose };
}

test("mode and owner stay, nothing is left beside it", () => {
  using at = place();
  if (isRoot) chownSync(at.ini, 65_534, 65_533);
  const { uid, gid } = statSync(at.ini);
  replaceSettings(at.ini, "new");
  expect(readFileSync(at.ini, "utf8")).toBe("new");
  const { mode, ...now } = statSync(at.ini);
  expect([mode & 0o7777, now.uid, now.gid]).toEqual([0o640, uid, gid]);
  expect(readdirSync(at.directory)).toEqual(["sparsebak.ini"]);
});

test("a file that a killed run has left goes", () => {
  using at = place();
  writeFileSync(at.next, "half of what was to be, and longer than it");
  replaceSettings(at.ini, "new");
  expect(readFileSync(at.ini, "utf8")).toBe("new");
  expect(readdirSync(at.directory)).toEqual(["sparsebak.ini"]);
});

test.skipIf(!isRoot)("so does one that had been given to the settings' owner (needs root)", () => {
  using at = place();
  writeFileSync(at.next, "half");
  for (const each of [at.ini, at.next]) chownSync(each, 65_534, 65_534);
  replaceSettings(at.ini, "new");
  expect(readFileSync(at.ini, "utf8")).toBe("new");
  expect(readdirSync(at.directory)).toEqual(["sparsebak.ini"]);
});

describe("what else lies there stops it, and is neither followed nor changed:", () => {
  const refused = (at: Place, why: RegExp): void => {
    expect(() => replaceSettings(at.ini, "new")).toThrow(why);
    expect(readFileSync(at.ini, "utf8")).toBe("old");
    lstatSync(at.next);
  };

  test("a link, also to nothing", () => {
    for (const target of ["precious", "nothing"]) {
      using at = place();
      writeFileSync(join(at.directory, "precious"), "precious");
      symlinkSync(target, at.next);
      refused(at, /sparsebak\.ini\.new, which is no regular file, wanted nothing there/);
      expect(readFileSync(join(at.directory, "precious"), "utf8")).toBe("precious");
      expect(readdirSync(at.directory)).toEqual(["precious", "sparsebak.ini", "sparsebak.ini.new"]);
    }
  });

  test("a directory", () => {
    using at = place();
    mkdirSync(at.next);
    refused(at, /sparsebak\.ini\.new, which is no regular file, wanted nothing there/);
  });

  test.skipIf(!isRoot)("a file of somebody else's (needs root)", () => {
    using at = place();
    writeFileSync(at.next, "theirs");
    chownSync(at.next, 65_534, 65_534);
    refused(at, /sparsebak\.ini\.new, a file of user 65534, wanted nothing there/);
    expect(readFileSync(at.next, "utf8")).toBe("theirs");
  });
});
