// The preamble behind what a login shell may have printed (docs/protocol.md, P4 to P6).

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatBytes } from "../../../protocol/bytes.ts";
import { encodeFrame, encodePreamble, frameDecoder, maxNoiseBytes } from "../../../protocol/wire/frame.ts";
import { preambleFinder } from "../../../protocol/wire/preamble.ts";
import { everyByte, framesOf } from "../streams.ts";

const preamble = encodePreamble();
const done = encodeFrame("done", 1, { bytes: 5 });

/** How a stream of `noise`, then a preamble and a frame is taken. */
function outcome(noise: Uint8Array, allowed: number, step: number): string {
  const stream = concatBytes([noise, preamble, done]);
  const cuts = everyByte(stream).filter((at) => at % step === 0);
  try {
    return framesOf(stream, "receiver", allowed, cuts)
      .map((frame) => frame.type)
      .join();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

const text = new TextEncoder().encode("Welcome to Debian!\n");
const noises: Readonly<Record<string, (length: number) => Uint8Array>> = {
  text: (length) => Uint8Array.from({ length }, (_, i) => text[i % text.length]!),
  zeros: (length) => new Uint8Array(length),
  "beginnings of the magic": (length) => Uint8Array.from({ length }, (_, i) => preamble[i % 11]!),
  "magics but for their last byte": (length) =>
    Uint8Array.from({ length }, (_, i) => (i % 12 === 11 ? 0 : preamble[i % 12]!)),
};

describe.each(Object.entries(noises))("P5: noise of %s", (_, make) => {
  test.each([0, 1, 11, 12, 65_535, maxNoiseBytes])("%i bytes are skipped", (length) => {
    for (const step of [1, 3, 4096, 1_000_000])
      expect(outcome(make(length), maxNoiseBytes, step)).toBe("done");
  });

  test.each([maxNoiseBytes + 1, maxNoiseBytes + 100_000])("%i bytes are too many", (length) => {
    for (const step of [1, 4096, 1_000_000])
      expect(outcome(make(length), maxNoiseBytes, step)).toBe("bad-magic");
  });

  test("one byte is too many for the receiver, which allows none", () => {
    expect(outcome(make(1), 0, 1)).toBe("bad-magic");
    expect(outcome(make(0), 0, 1)).toBe("done");
  });
});

describe("the finder", () => {
  test("finds the preamble behind any noise up to the limit, and refuses more", () => {
    const byte = fc.oneof(fc.constantFrom(...preamble), fc.nat(255));
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 80 }), fc.nat(80), (noise, allowed) => {
        const stream = concatBytes([Uint8Array.from(noise), preamble, done]);
        // The first whole magic counts: where the noise holds one, it is no noise.
        fc.pre(Buffer.from(stream).indexOf(preamble.subarray(0, 12)) === noise.length);
        expect(outcome(Uint8Array.from(noise), allowed, 1)).toBe(
          noise.length <= allowed ? "done" : "bad-magic",
        );
      }),
    );
  });

  test("takes nothing behind the preamble", () => {
    const finder = preambleFinder(10);
    expect(finder.take(concatBytes([Uint8Array.of(1, 2), preamble, Uint8Array.of(3, 4)]))).toBe(18);
    expect(finder.found).toBe(true);
    expect(finder.take(Uint8Array.of(5))).toBe(0);
  });

  test("gives up as soon as there is too much, without waiting for a magic", () => {
    const decoder = frameDecoder("receiver", 100);
    for (const frame of decoder.push(new Uint8Array(100).fill(1))) expect.fail(frame.type);
    expect(() => [...decoder.push(Uint8Array.of(1))]).toThrow(expect.objectContaining({ code: "bad-magic" }));
  });

  test("keeps none of the noise", () => {
    const before = process.memoryUsage().arrayBuffers;
    const decoders = Array.from({ length: 200 }, () => frameDecoder("receiver", maxNoiseBytes));
    const noise = new Uint8Array(maxNoiseBytes).fill(0x20);
    for (const decoder of decoders) for (const frame of decoder.push(noise)) expect.fail(frame.type);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 20);
  });
});
