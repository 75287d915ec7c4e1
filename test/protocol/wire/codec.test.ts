// The small codecs that everything is made of (docs/protocol.md, P2 and P3).

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FormatError, InternalError } from "../../../protocol/errors.ts";
import {
  blob,
  bool,
  type Codec,
  decode,
  encode,
  fixedBytes,
  list,
  oneOf,
  only,
  rest,
  struct,
  text,
  u16,
  u32,
  u64,
  u8,
} from "../../../protocol/wire/codec.ts";
import { byteReader } from "../../../protocol/wire/reader.ts";
import { byteWriter } from "../../../protocol/wire/writer.ts";

const code = (run: () => unknown): string => {
  try {
    run();
    return "ok";
  } catch (error) {
    return error instanceof FormatError ? error.code : String(error);
  }
};
const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));

describe("integers", () => {
  test("are fixed width and big-endian, as a DataView with BigInt sees them", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger().map(Math.abs), (value) => {
        const found = encode(u64, value);
        expect(new DataView(found.buffer).getBigUint64(0)).toBe(BigInt(value));
        expect(decode(u64, found, "n")).toBe(value);
      }),
    );
    expect(encode(struct({ a: u8, b: u16, c: u32 }), { a: 1, b: 0x0203, c: 0x04050607 })).toEqual(
      bytes("01020304050607"),
    );
  });

  test("u64 above 2^53-1 is refused, not rounded", () => {
    expect(decode(u64, bytes("001fffffffffffff"), "n")).toBe(Number.MAX_SAFE_INTEGER);
    expect(code(() => decode(u64, bytes("0020000000000000"), "n"))).toBe("bad-value");
    expect(code(() => decode(u64, bytes("ffffffffffffffff"), "n"))).toBe("bad-value");
  });

  test.each([
    ["u8", u8, 256],
    ["u16", u16, 65_536],
    ["u32", u32, 2 ** 32],
    ["u64", u64, 2 ** 53],
  ] as const)("%s: what does not fit is a bug, not a wrapped number", (_, codec, tooLarge) => {
    for (const value of [tooLarge, -1, 0.5, Number.NaN, Infinity])
      expect(() => encode(codec, value)).toThrow(InternalError);
  });
});

describe("text", () => {
  const any = text(16);

  test("is strict UTF-8: overlong forms, halves of pairs and cut characters are refused", () => {
    for (const wrong of [
      "c080",
      "c1bf",
      "e08080",
      "eda080",
      "edbfbf",
      "f4908080",
      "f8808080",
      "80",
      "c3",
      "f09d84",
    ]) {
      const raw = bytes(wrong);
      expect(
        code(() => decode(any, new Uint8Array([0, raw.length, ...raw]), "t")),
        wrong,
      ).toBe("bad-value");
    }
  });

  test("half a character can't be written: it would be read as another text", () => {
    expect(code(() => encode(any, "\ud800"))).toBe("bad-value");
    expect(code(() => encode(any, "a\udc00b"))).toBe("bad-value");
    expect(decode(any, encode(any, "\u{1d11e}"), "t")).toBe("\u{1d11e}");
  });

  test("a byte order mark is a character like any other", () => {
    expect(decode(any, encode(any, "\ufeffa"), "t")).toBe("\ufeffa");
  });

  test("its bound counts bytes", () => {
    expect(code(() => encode(text(3), "éé"))).toBe("too-long");
    expect(code(() => decode(text(3), bytes("0004c3a9c3a9"), "t"))).toBe("too-long");
  });
});

describe("lengths and counts from outside", () => {
  test("a count is believed item by item", () => {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 1000; i++) {
      expect(code(() => decode(list(fixedBytes(8), 2 ** 30), bytes("3fffffff0000000000000000"), "l"))).toBe(
        "truncated",
      );
    }
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(64 * 2 ** 20);
  });

  test("a bound comes before the bytes", () => {
    expect(code(() => decode(list(u8, 3), bytes("00000004"), "l"))).toBe("too-long");
    expect(code(() => decode(blob(3), bytes("00000004"), "b"))).toBe("too-long");
    expect(code(() => decode(blob(4), bytes("00000004"), "b"))).toBe("truncated");
    expect(code(() => decode(rest(3), bytes("00000004"), "r"))).toBe("too-long");
  });
});

describe("both directions check the same", () => {
  const cases: readonly (readonly [string, Codec<never>, unknown, string])[] = [
    ["fixedBytes", fixedBytes(2) as Codec<never>, new Uint8Array(3), "bad-value"],
    ["blob", blob(2) as Codec<never>, new Uint8Array(3), "too-long"],
    ["rest", rest(2) as Codec<never>, new Uint8Array(3), "too-long"],
    ["list", list(u8, 2) as Codec<never>, [1, 2, 3], "too-long"],
    ["oneOf", oneOf({ a: 1 }) as Codec<never>, "b", "bad-value"],
    ["only", only(u8, (n) => n < 3, "below 3") as Codec<never>, 3, "bad-value"],
    ["text", text(9, /^a+$/) as Codec<never>, "b", "bad-value"],
  ];
  test.each(cases)("%s", (_, codec, value, expected) => {
    expect(code(() => encode(codec, value as never))).toBe(expected);
  });

  test("a truth value is 0 or 1", () => {
    expect([decode(bool, bytes("00"), "b"), decode(bool, bytes("01"), "b")]).toEqual([false, true]);
    expect(code(() => decode(bool, bytes("02"), "b"))).toBe("bad-value");
  });

  test("nothing may be left over", () => {
    expect(code(() => decode(u8, bytes("0000"), "n"))).toBe("trailing");
  });
});

describe("reader and writer", () => {
  test("a reader keeps to its part of a larger buffer", () => {
    const reader = byteReader(bytes("0102030405").subarray(1, 3), "r");
    expect(reader.u8()).toBe(2);
    expect(reader.left()).toBe(1);
    expect(code(() => reader.u16())).toBe("truncated");
    expect(reader.u8()).toBe(3);
    reader.end();
  });

  test("a writer grows and keeps what it has", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 30 }), (parts) => {
        const writer = byteWriter(1);
        for (const part of parts) writer.bytes(part);
        expect(writer.done()).toEqual(new Uint8Array(Buffer.concat(parts)));
      }),
    );
  });
});
