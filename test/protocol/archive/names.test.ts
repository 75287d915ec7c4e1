// What things are called below the archive's directory (docs/archive-format.md, F2 to F6).

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  chunkPath,
  directoryFor,
  directoryName,
  indexFile,
  isDirectoryName,
  isSessionName,
  isVolumeName,
  manifestFile,
  parseChunkFile,
  parseGeneration,
  sessionNameAt,
  volumeName,
} from "../../../protocol/archive/names.ts";
import { type ChunkAddress, type Generation, maxTime } from "../../../protocol/archive/types.ts";
import { decode, encode } from "../../../protocol/wire/codec.ts";
import { volumeName as anyVolumeName } from "../arbitraries.ts";

describe("F2: directories of volumes", () => {
  test.each([
    "",
    ".",
    "..",
    ".a",
    "a.",
    "...",
    "a/b",
    "/",
    "a\\b",
    "a b",
    "a\u0000",
    "a\n",
    "é",
    "a%",
    "a%2",
    "a%2f",
    "a%zz",
    "a:b",
    "heads",
    "HEADS",
    "archive",
    "Archive",
    "dead",
    "lock",
    "readme.txt",
    "README.txt",
    "assembled",
    "copies",
    "trash",
    "a".repeat(201),
  ])("%j is none", (name) => {
    expect(isDirectoryName(name)).toBe(false);
    expect(() => encode(directoryName, name)).toThrow();
  });

  test.each(["a", "vm-work-private", "a%2Fb", "%2Ehidden", "a.b", "A+b_c-1", "heads2", "-", "a".repeat(200)])(
    "%j is one",
    (name) => {
      expect(isDirectoryName(name)).toBe(true);
      expect(decode(directoryName, encode(directoryName, name), "d")).toBe(name);
    },
  );
});

describe("F3: the directory for a volume", () => {
  test.each([
    ["vm-work-private", "vm-work-private"],
    ["appvms/work/private.img", "appvms%2Fwork%2Fprivate.img"],
    ["Heads", "%48eads"],
    ["archive", "%61rchive"],
    ["README.TXT", "%52EADME.TXT"],
    [".hidden", "%2Ehidden"],
    ["a.", "a%2E"],
    ["...", "%2E.%2E"],
    ["a%2Fb", "a%252Fb"],
    ["ü", "%C3%BC"],
    ["a b:c*?", "a%20b%3Ac%2A%3F"],
    ["con\u2028", "con%E2%80%A8"],
  ])("%j lies in %j", (name, directory) => {
    expect(directoryFor(name, [])).toBe(directory);
  });

  test("names that differ only in case get numbers: FAT and exFAT don't tell them apart", () => {
    expect(directoryFor("work", ["Work"])).toBe("work+2");
    expect(directoryFor("work", ["Work", "WORK+2", "work+3"])).toBe("work+4");
    expect(directoryFor("heads", ["%68EADS"])).toBe("%68eads+2");
  });

  test("a long name is cut, never within an escape, and always numbered", () => {
    expect(directoryFor("a".repeat(188), [])).toBe("a".repeat(188));
    expect(directoryFor("a".repeat(189), [])).toBe(`${"a".repeat(188)}+1`);
    expect(directoryFor("a".repeat(1024), [`${"a".repeat(188)}+1`])).toBe(`${"a".repeat(188)}+2`);
    for (const plain of [185, 186, 187, 188]) {
      expect(directoryFor(`${"a".repeat(plain)}${"é".repeat(50)}`, [])).toMatch(
        /^a{185,188}(%[0-9A-F]{2})*\+1$/,
      );
    }
  });

  test("whatever the names, each gets a directory of its own that is allowed, also without case", () => {
    const hard = fc.constantFrom(
      "Heads",
      "heads",
      "HEADS",
      "a.",
      "a",
      "A",
      "A.",
      ".a",
      "..a",
      "ü",
      "Ü",
      "x".repeat(300),
      "X".repeat(301),
      "lock",
      "a+2",
    );
    fc.assert(
      fc.property(fc.uniqueArray(fc.oneof(anyVolumeName, hard), { maxLength: 20 }), (names) => {
        const taken: string[] = [];
        for (const name of names) {
          const directory = directoryFor(name, taken);
          expect(isDirectoryName(directory), `${JSON.stringify(name)} in ${directory}`).toBe(true);
          taken.push(directory);
        }
        expect(new Set(taken.map((each) => each.toLowerCase())).size).toBe(names.length);
      }),
    );
  });
});

describe("F4: names of sessions", () => {
  test.each([
    [0, "S_19700101-000000"],
    [999, "S_19700101-000000"],
    [Date.UTC(2026, 10, 23, 10, 15, 0, 999), "S_20261123-101500"],
    [Date.UTC(2028, 1, 29, 23, 59, 59), "S_20280229-235959"],
    [maxTime, "S_99991231-235959"],
  ])("%i ms is %s, in UTC whatever the machine's zone", (time, name) => {
    expect(sessionNameAt(time)).toBe(name);
  });

  test("every time that the format allows has a name", () => {
    fc.assert(
      fc.property(
        fc.maxSafeInteger().map((n) => Math.abs(n) % (maxTime + 1)),
        (time) => isSessionName(sessionNameAt(time)),
      ),
    );
  });

  test.each([
    "",
    "S_",
    "S_20261123-10150",
    "S_20261123-1015000",
    "s_20261123-101500",
    "S_20261123_101500",
    "S_20261123-101500\n",
    "S_２0261123-101500",
    "../20261123-10150",
  ])("%j is none", (name) => expect(isSessionName(name)).toBe(false));
});

describe("F5: places of chunks", () => {
  test.each([
    [0, "000000000", "x0000000000000000"],
    [65_536, "000000000", "x0000000000010000"],
    [2 ** 28, "000000001", "x0000000010000000"],
    [2 ** 40 + 131_072, "000001000", "x0000010000020000"],
    [2 ** 53 - 65_536, "001ffffff", "x001fffffffff0000"],
  ])("%i lies in %s/%s", (address, group, file) => {
    expect(chunkPath(address as ChunkAddress)).toEqual({ group, file });
    expect(parseChunkFile(file)).toBe(address);
  });

  test("a name spells an address exactly when the address has that name", () => {
    const index = fc.integer({ min: 0, max: 2 ** 37 - 1 });
    fc.assert(
      fc.property(index, (n) => {
        const address = (n * 65_536) as ChunkAddress;
        expect(parseChunkFile(chunkPath(address).file)).toBe(address);
      }),
    );
    fc.assert(
      fc.property(fc.stringMatching(/^x00[0-9a-fA-F]{14}$/), (file) => {
        const address = parseChunkFile(file);
        if (address !== undefined) expect(chunkPath(address).file).toBe(file);
      }),
    );
  });

  test.each([
    "",
    "x",
    "x000000000001000",
    "x0000000000000001",
    "x0000000000001000",
    "x0000000000010000 ",
    "X0000000000010000",
    "x00000000000A0000",
    "x0020000000000000",
    "x00000000000100000",
    "../x0000000000010000",
  ])("%j is no chunk's", (file) => expect(parseChunkFile(file)).toBeUndefined());
});

describe("F6: generations in names", () => {
  test.each([1, 9, 10, 4096, 2 ** 53 - 1])("%i", (n) => {
    expect(parseGeneration(String(n))).toBe(n);
    expect(indexFile(n as Generation)).toBe(`index.${n}`);
    expect(manifestFile(n as Generation)).toBe(`manifest.${n}`);
  });
  test.each([
    "",
    "0",
    "01",
    "-1",
    "+1",
    "1.0",
    "1e3",
    " 1",
    "1\n",
    "9007199254740992",
    "99999999999999999",
    "١",
  ])("%j is none", (text) => expect(parseGeneration(text)).toBeUndefined());
});

describe("names of volumes", () => {
  test.each([
    "a",
    "vm-work-private",
    "appvms/work/private.img",
    "a b",
    "ü",
    "...",
    "a.",
    ".a",
    "a".repeat(1024),
    "\u2028",
    "-rf",
  ])("%j is one", (name) => {
    expect(isVolumeName(name)).toBe(true);
    expect(decode(volumeName, encode(volumeName, name), "n")).toBe(name);
  });
  test.each([
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "./a",
    "a/.",
    "a/..",
    "../a",
    "a/../b",
    "a/./b",
    "a\u0000",
    "a\nb",
    "a\u007fb",
    "a\u2028/../b",
    "\u2029/../../etc",
    "a\u2028//b",
    "a".repeat(1025),
    "ü".repeat(513),
    "\ud800",
  ])("%j is none", (name) => {
    expect(isVolumeName(name)).toBe(false);
    expect(() => encode(volumeName, name)).toThrow();
  });
});
