// thin_delta's answer: read whole or in any pieces it gives the same, and what is not exactly complete is an error.

import { array, assert, nat, property, string } from "fast-check";
import { describe, expect, test } from "vitest";
import { type DeltaExtent, deltaParser } from "../../../../dom0-agent/storage/lvm/thin-delta.ts";

const chunk = 65_536;
const answer = (body: string, opening = 'data_block_size="128" nr_data_blocks="0"'): string =>
  `<superblock uuid="" time="3" transaction="4" ${opening}>\n  <diff left="2" right="3">\n${body}  </diff>\n</superblock>\n`;
const good = answer(
  [
    '    <same begin="0" length="3"/>',
    '    <different begin="3" length="2"/>',
    '    <left_only begin="5" length="1"/>',
    '    <right_only begin="320" length="2"/>',
    "",
  ].join("\n"),
);
const extents: readonly DeltaExtent[] = [
  { kind: "same", offset: 0, length: 3 * chunk },
  { kind: "different", offset: 3 * chunk, length: 2 * chunk },
  { kind: "left_only", offset: 5 * chunk, length: chunk },
  { kind: "right_only", offset: 320 * chunk, length: 2 * chunk },
];

function parse(pieces: readonly string[], left = 2, right = 3): readonly DeltaExtent[] {
  const parser = deltaParser(left, right, chunk);
  const found = pieces.flatMap((piece) => parser.push(piece));
  parser.end();
  return found;
}

describe("a whole answer", () => {
  test("gives each stretch, in bytes", () => {
    expect(parse([good])).toEqual(extents);
  });

  test("gives the same in pieces of any size", () => {
    expect(parse(good.split(""))).toEqual(extents);
    assert(
      property(array(nat(good.length)), (cuts) => {
        const at = [0, ...cuts.sort((a, b) => a - b), good.length];
        const pieces = at.slice(1).map((end, i) => good.slice(at[i], end));
        expect(parse(pieces)).toEqual(extents);
      }),
    );
  });

  test("may say that nothing is mapped", () => {
    expect(parse([answer("")])).toEqual([]);
  });

  test("may come from the newer tools, which say more of the pool and indent otherwise", () => {
    const newer = answer(
      '<same begin="0" length="3"/>',
      'version="2" data_block_size="128" nr_data_blocks="0"',
    );
    expect(parse([newer.replaceAll("\n", "")])).toEqual([extents[0]]);
  });
});

describe("what is not complete is an error", () => {
  test("wherever it was cut off", () => {
    for (let length = 0; length < good.trimEnd().length; length++) {
      expect(() => parse([good.slice(0, length)]), String(length)).toThrow(/thin_delta/);
    }
  });

  const stretch = (text: string): string => answer(`    ${text}\n`);
  const wrong: Readonly<Record<string, string>> = {
    "another pair of devices": good.replace('left="2"', 'left="9"'),
    "the pair the other way round": good.replace('left="2" right="3"', 'left="3" right="2"'),
    "another size of the pool's chunks": good.replace('size="128"', 'size="256"'),
    "no size of the pool's chunks": good.replace('data_block_size="128" ', ""),
    "something before it": `warning: old metadata\n${good}`,
    "something behind it": `${good}<superblock>`,
    "text behind it": `${good}and more`,
    "an empty superblock": '<superblock uuid="" data_block_size="128">\n</superblock>\n',
    "two answers": good + good,
    "an unknown element": stretch('<other begin="1" length="1"/>'),
    "an unknown attribute": stretch('<same begin="1" length="1" data_begin="7"/>'),
    "the wrong order of attributes": stretch('<same length="1" begin="1"/>'),
    "an element that is left open": stretch('<same begin="1" length="1">'),
    "a negative number": stretch('<same begin="-1" length="1"/>'),
    "a number that no float can hold": stretch('<same begin="999999999999999" length="1"/>'),
    "a number that goes on": stretch(`<same begin="${"1".repeat(40)}" length="1"/>`),
    "nothing at a place": stretch('<same begin="1" length="0"/>'),
    "stretches that overlap": stretch('<same begin="1" length="5"/><different begin="3" length="1"/>'),
    "stretches that go back": stretch('<same begin="9" length="1"/><different begin="3" length="1"/>'),
    "an entity": `<!DOCTYPE x [<!ENTITY a "b">]>${good}`,
    "a comment": answer("<!-- > -->"),
  };
  for (const [what, text] of Object.entries(wrong)) {
    test(what, () => {
      expect(() => parse([text])).toThrow(/thin_delta/);
      expect(() => parse(text.split(""))).toThrow(/thin_delta/);
    });
  }

  test("an element without end costs no memory: it is refused while it comes", () => {
    const parser = deltaParser(2, 3, chunk);
    expect(() => {
      for (let i = 0; i < 100; i++) parser.push("x".repeat(100));
    }).toThrow(/thin_delta/);
  });

  test("any other text", () => {
    assert(
      property(string(), (text) => {
        expect(() => parse([text])).toThrow(/thin_delta/);
      }),
    );
  });
});
