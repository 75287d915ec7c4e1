// filefrag's list of extents: exactly what is understood counts, anything else makes the whole file data.

import { describe, expect, test } from "vitest";
import { parseFilefrag } from "../../../../dom0-agent/storage/file/filefrag.ts";

const size = 10_485_760;
const header = " ext:     logical_offset:        physical_offset: length:   expected: flags:";
const output = (rows: readonly string[], found: number, type = "ef53", block = 4096): string =>
  [
    `Filesystem type is: ${type}`,
    `File size of /proc/self/fd/0 is ${size} (${size / block} blocks of ${block} bytes)`,
    ...(rows.length > 0 ? [header, ...rows] : []),
    `/proc/self/fd/0: ${found} extent${found === 1 ? "" : "s"} found`,
    "",
  ].join("\n");

const first = "   0:      100..     102:   23828580..  23828582:      3:        100:";
const last = "   1:     1220..    1220:   23829700..  23829700:      1:             last";

describe("what is understood", () => {
  test("extents, with and without an expected place and flags", () => {
    expect(parseFilefrag(output([first, last], 1), size)).toEqual([
      { offset: 409_600, length: 12_288 },
      { offset: 4_997_120, length: 4096 },
    ]);
  });

  test("no extents", () => {
    expect(parseFilefrag(output([], 0), size)).toEqual([]);
  });

  test("data that has no place yet: its length is 0, its range is not", () => {
    const rows = [
      "   0:      100..     102:          0..         0:      0:             unknown_loc,delalloc",
      "   1:      256..     280:   23828583..  23828607:     25:        156: last,unwritten",
    ];
    expect(parseFilefrag(output(rows, 2), size)).toEqual([
      { offset: 409_600, length: 12_288 },
      { offset: 1_048_576, length: 102_400 },
    ]);
  });

  test("neighbours are one; what is past the end is cut off", () => {
    const rows = [
      "   0:        0..       9:       1000..      1009:     10:             shared",
      "   1:       10..      19:       2000..      2009:     10:       1010: encoded",
      "   2:     2550..    9999:       3000..     10449:   7450:       4540: last,eof",
    ];
    expect(parseFilefrag(output(rows, 3), size)).toEqual([
      { offset: 0, length: 81_920 },
      { offset: 10_444_800, length: size - 10_444_800 },
    ]);
  });
});

const refused: Readonly<Record<string, string>> = {
  nothing: "",
  "a list that was cut off before its last row": output([first], 1),
  "a list without its last line": output([first, last], 1).split("\n").slice(0, -2).join("\n"),
  "a line that was cut off": output([first, last], 1).slice(0, -1),
  "rows that go on behind the last": output([last.replace("1:", "0:"), last], 1),
  "a missing row": output([first, last.replace("   1:", "   2:")], 1),
  "an extent before the one before": output(
    [first, "   1:       50..      60:       1000..      1010:     11:             last"],
    2,
  ),
  "an extent that ends before it begins": output(
    ["   0:       50..      40:       1000..      1010:     11:             last"],
    1,
  ),
  "an extent in the inode, which is counted in bytes": output(
    ["   0:        0..    4095:          0..      4095:   4096:             last,not_aligned,inline,eof"],
    1,
  ),
  "a flag that nobody knows": output([first, `${last},surprise`], 1),
  "a file system that is not trusted with it": output([first, last], 1, "4d44"),
  "a file system that can't say": "/proc/self/fd/0: FIBMAP/FIEMAP unsupported\n",
  "another file's size": output([first, last], 1).replace(String(size), "4096"),
  "extents in the summary that were not listed": output([], 3),
  "something between the lines": output(["surprise", first, last], 1),
};

describe("what is not", () => {
  for (const [what, text] of Object.entries(refused)) {
    test(what, () => {
      expect(parseFilefrag(text, size)).toBeUndefined();
    });
  }
});
