// decode(encode(x)) is x, for arbitrary values of every message and structure (protocol.md, P3; archive-format.md, F1).

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatBytes } from "../../protocol/bytes.ts";
import { encodeFrame, encodePreamble, frameHeaderBytes } from "../../protocol/wire/frame.ts";
import { type MessageName, messages, type Messages } from "../../protocol/wire/messages.ts";
import { messageBodies, structureValues, tarSizeOf } from "./arbitraries.ts";
import { framesOf } from "./streams.ts";
import { type StructureName, structures, type WholeOffsets } from "./structures.ts";
import { plain } from "./vectors/read.ts";

const runs = { numRuns: 150 };

describe("messages", () => {
  test.each(Object.keys(messages) as MessageName[])("%s", (name) => {
    const id = fc.integer({ min: 0, max: 0xffff_ffff });
    fc.assert(
      fc.property(messageBodies[name] as fc.Arbitrary<Messages[MessageName]>, id, (body, requestId) => {
        const frame = encodeFrame(name, requestId, body);
        expect(frame.length - frameHeaderBytes).toBeLessThanOrEqual(messages[name].max);
        const [found, ...more] = framesOf(concatBytes([encodePreamble(), frame]), messages[name].from);
        expect(more).toEqual([]);
        expect(plain(found)).toEqual(plain({ type: name, id: requestId, body }));
      }),
      runs,
    );
  });
});

describe("structures", () => {
  test.each(Object.keys(structureValues) as StructureName[])("%s", (name) => {
    const { decode, encode } = structures[name];
    fc.assert(
      fc.property(structureValues[name], (value) => {
        const given: Record<string, string> =
          name === "offsets" ? { "file-size": String(tarSizeOf(value as WholeOffsets)) } : {};
        const bytes = encode(value);
        expect(plain(decode(bytes, given))).toEqual(plain(value));
      }),
      runs,
    );
  });
});
