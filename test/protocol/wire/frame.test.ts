// Frames off a stream that comes in pieces of any size (docs/protocol.md, "Frames").

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatBytes } from "../../../protocol/bytes.ts";
import { FormatError, InternalError } from "../../../protocol/errors.ts";
import {
  encodeFrame,
  encodePreamble,
  type Frame,
  frameDecoder,
  writeFrameHeader,
} from "../../../protocol/wire/frame.ts";
import { type MessageName, messages, type Messages, type Sender } from "../../../protocol/wire/messages.ts";
import { messageBodies } from "../arbitraries.ts";
import { bytesOf, everyByte, framesOf } from "../streams.ts";
import { plain } from "../vectors/read.ts";

const preamble = encodePreamble();

function dialogueOf(from: Sender): fc.Arbitrary<Frame[]> {
  const names = (Object.keys(messages) as MessageName[]).filter((name) => messages[name].from === from);
  const frame = fc.constantFrom(...names).chain((type) =>
    fc.record({
      type: fc.constant(type),
      id: fc.integer({ min: 0, max: 0xffff_ffff }),
      body: messageBodies[type] as fc.Arbitrary<Messages[MessageName]>,
    }),
  );
  return fc.array(frame as fc.Arbitrary<Frame>, { maxLength: 12 });
}

describe("P9: pieces don't matter", () => {
  test.each<Sender>(["agent", "receiver"])("%s: random cuts, every byte, one piece", (from) => {
    fc.assert(
      fc.property(dialogueOf(from), fc.array(fc.nat(20_000), { maxLength: 20 }), (frames, cuts) => {
        const stream = concatBytes([preamble, ...frames.map(bytesOf)]);
        const random = cuts.map((cut) => cut % (stream.length + 1)).sort((a, b) => a - b);
        for (const each of [[], random, everyByte(stream)]) {
          expect(framesOf(stream, from, 0, each).map(plain)).toEqual(frames.map(plain));
        }
      }),
      { numRuns: 60 },
    );
  });

  test("frames of one push stay whole until the next push, also when all are collected first", () => {
    const first = encodeFrame("data", 1, { bytes: new Uint8Array(1000).fill(0x11) });
    const second = encodeFrame("data", 1, { bytes: new Uint8Array(1000).fill(0x22) });
    const third = encodeFrame("data", 1, { bytes: new Uint8Array(1000).fill(0x33) });
    const decoder = frameDecoder("receiver");
    expect([...decoder.push(concatBytes([preamble, first.subarray(0, 500)]))]).toEqual([]);
    // The first frame is completed from what was held; the beginning of the third is held in its turn.
    const frames = [...decoder.push(concatBytes([first.subarray(500), second, third.subarray(0, 900)]))];
    expect(frames.map((frame) => frame.type === "data" && new Set(frame.body.bytes))).toEqual([
      new Set([0x11]),
      new Set([0x22]),
    ]);
    expect(
      [...decoder.push(third.subarray(900))].map(
        (frame) => frame.type === "data" && new Set(frame.body.bytes),
      ),
    ).toEqual([new Set([0x33])]);
    decoder.end();
  });

  test("fixed-size values are copies: they outlive the stream's buffer", () => {
    const digest = new Uint8Array(32).fill(7) as Messages["committed"]["headDigest"];
    const stream = concatBytes([
      preamble,
      encodeFrame("committed", 1, { generation: 1 as never, headDigest: digest }),
    ]);
    const [frame] = [...frameDecoder("receiver").push(stream)];
    stream.fill(0);
    expect(frame?.type === "committed" && frame.body.headDigest).toEqual(digest);
  });
});

describe("P8: a length is checked before anything is kept", () => {
  test.each(Object.keys(messages) as MessageName[])(
    "%s: one byte above its bound is refused with the header",
    (name) => {
      const { code, from, max } = messages[name];
      const header = new Uint8Array(12);
      const view = new DataView(header.buffer);
      view.setUint16(0, code);
      view.setUint32(8, max + 1);
      for (const cuts of [[], everyByte(header)]) {
        const decoder = frameDecoder(from);
        let at = 0;
        const run = (): void => {
          for (const cut of [16, ...cuts.map((each) => each + 16), 28]) {
            for (const frame of decoder.push(concatBytes([preamble, header]).subarray(at, cut)))
              expect.fail(frame.type);
            at = cut;
          }
        };
        expect(run).toThrow(expect.objectContaining({ code: "too-long" }));
      }
    },
  );

  test("memory stays flat: 256 MiB of chunks in pieces of pipe size", () => {
    const body = {
      address: 0 as never,
      checksum: new Uint8Array(32) as never,
      bytes: new Uint8Array(130_000).fill(9),
    };
    const frame = encodeFrame("chunk", 1, body);
    const decoder = frameDecoder("agent");
    for (const _ of decoder.push(preamble)) expect.fail();
    const run = (mebibytes: number): number => {
      let frames = 0;
      for (let done = 0; done < mebibytes * 2 ** 20; done += frame.length) {
        for (let at = 0; at < frame.length; at += 65_536) {
          for (const each of decoder.push(frame.subarray(at, at + 65_536)))
            frames += each.type === "chunk" ? 1 : 0;
        }
      }
      return frames;
    };
    run(16);
    const before = process.memoryUsage().arrayBuffers;
    expect(run(256)).toBe(Math.ceil((256 * 2 ** 20) / frame.length));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 2 ** 20);
  });

  test("headers that announce the largest chunk make one buffer each decoder, not one a header", () => {
    const header = new Uint8Array(12);
    writeFrameHeader(header, 0, "chunk", 1, messages.chunk.max);
    const before = process.memoryUsage().arrayBuffers;
    const decoder = frameDecoder("agent");
    for (const _ of decoder.push(preamble)) expect.fail();
    for (const byte of header) for (const _ of decoder.push(Uint8Array.of(byte))) expect.fail();
    for (let i = 0; i < 100_000; i++) for (const _ of decoder.push(new Uint8Array(1))) expect.fail();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 2 ** 20);
  });
});

describe("P12: the first error is the last word", () => {
  test("a stream that was wrong once stays wrong", () => {
    const decoder = frameDecoder("receiver");
    const wrong = new Uint8Array(12).fill(0xff);
    expect(() => [...decoder.push(concatBytes([preamble, wrong]))]).toThrow(FormatError);
    expect(() => [...decoder.push(encodeFrame("done", 1, { bytes: 0 }))]).toThrow(
      expect.objectContaining({ code: "bad-value" }),
    );
    expect(() => decoder.end()).toThrow(expect.objectContaining({ code: "bad-value" }));
  });

  test("frames before the error are given", () => {
    const good = encodeFrame("done", 1, { bytes: 3 });
    const decoder = frameDecoder("receiver");
    const found: string[] = [];
    expect(() => {
      for (const frame of decoder.push(concatBytes([preamble, good, good, new Uint8Array(12)])))
        found.push(frame.type);
    }).toThrow(FormatError);
    expect(found).toEqual(["done", "done"]);
  });

  test("frames that were left untaken are not lost in silence", () => {
    const decoder = frameDecoder("receiver");
    const frame = encodeFrame("done", 1, { bytes: 3 });
    for (const first of decoder.push(concatBytes([preamble, frame, frame]))) {
      expect(first.type).toBe("done");
      break;
    }
    expect(() => [...decoder.push(frame)]).toThrow(InternalError);
    expect(() => decoder.end()).toThrow(InternalError);
  });
});

describe("P1: an end inside something is no end", () => {
  test("every cut of a dialogue is `truncated`, but those between frames", () => {
    const stream = concatBytes([preamble, encodeFrame("done", 1, { bytes: 1 })]);
    for (let length = 0; length < stream.length; length++) {
      const whole = length === preamble.length;
      const run = (): unknown => framesOf(stream.subarray(0, length), "receiver");
      if (whole) expect(run()).toEqual([]);
      else expect(run, `${length} bytes`).toThrow(expect.objectContaining({ code: "truncated" }));
    }
  });
});

describe("what a sender can't say", () => {
  test("a body above its bound, an id above 32 bits", () => {
    const target = new Uint8Array(12);
    expect(() => writeFrameHeader(target, 0, "part", 1, messages.part.max + 1)).toThrow(FormatError);
    expect(() => writeFrameHeader(target, 0, "part", 2 ** 32, 1)).toThrow(InternalError);
    expect(() => writeFrameHeader(target, 0, "part", -1, 1)).toThrow(InternalError);
    expect(() => encodeFrame("part", 1, { bytes: new Uint8Array(messages.part.max + 1) })).toThrow(
      expect.objectContaining({ code: "too-long" }),
    );
  });
});
