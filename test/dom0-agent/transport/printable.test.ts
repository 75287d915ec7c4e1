import { expect, test } from "vitest";
import { printable } from "../../../dom0-agent/transport/printable.ts";
import { stderrTail } from "../../../dom0-agent/transport/stderr-tail.ts";
import { PassThrough } from "node:stream";

test("text that could act on a terminal is escaped, all other text is left as it is", () => {
  const cases: readonly (readonly [input: string | readonly number[], wanted: string])[] = [
    ["plain text, 100 %", "plain text, 100 %"],
    ["Größe 名前 🙂 é", "Größe 名前 🙂 é"],
    ["two\nlines\r\n\n", String.raw`two\nlines`],
    ["\u001b[2J\u0007\t\0\u007f", String.raw`\x1b[2J\x07\x09\x00\x7f`],
    ["\u009b2J", String.raw`\xc2\x9b2J`],
    ["\u202egnp.exe", String.raw`\xe2\x80\xaegnp.exe`],
    ["a\u2028b\u00a0c\u200b", String.raw`a\xe2\x80\xa8b\xc2\xa0c\xe2\x80\x8b`],
    [String.raw`\x1b`, String.raw`\\x1b`],
    [[0xff, 0x41, 0xc3, 0x28, 0xe2, 0x82], String.raw`\xffA\xc3(\xe2\x82`],
    [[0xed, 0xa0, 0x80], String.raw`\xed\xa0\x80`],
    [[0xf8, 0x88, 0x80, 0x80, 0x80], String.raw`\xf8\x88\x80\x80\x80`],
    ["", ""],
  ];
  for (const [input, wanted] of cases) {
    expect(printable(typeof input === "string" ? Buffer.from(input) : Uint8Array.from(input))).toBe(wanted);
  }
});

test("of a long stderr the end is kept, in whole characters", async () => {
  const stream = new PassThrough();
  const tail = stderrTail(stream);
  stream.write("begin");
  await new Promise(setImmediate);
  expect(tail.text()).toBe("begin");
  for (let i = 0; i < 300; i++) stream.write("ä".repeat(100));
  stream.write("x");
  await new Promise(setImmediate);
  expect(tail.text()).toBe(`…${"ä".repeat(2047)}x`);
});
