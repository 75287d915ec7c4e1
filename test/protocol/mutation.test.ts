// No bytes but those that an encoder makes are taken for a value: every byte of every vector is changed, every vector
// is cut everywhere, and each time there must be a FormatError, or a value that encodes to exactly those bytes
// (protocol.md, P3; archive-format.md, F1). Any other exception fails the test.

import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { concatBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { encodePreamble } from "../../protocol/wire/frame.ts";
import { type MessageName, messages } from "../../protocol/wire/messages.ts";
import { bytesOf, framesOf } from "./streams.ts";
import { structureOf, structures } from "./structures.ts";
import { vectorsDirectory } from "./vectors/make.ts";
import { readVectors, type Vector } from "./vectors/read.ts";

const vectors = readVectors(vectorsDirectory);
const messageVectors = vectors.filter((each) => each.reads.kind === "message");
const structureVectors = vectors.filter((each) => each.reads.name in structures);

/** Every byte of `bytes` in turn, changed in a few ways; then every truncation. */
function* mutants(bytes: Uint8Array): Generator<{ readonly at: number; readonly mutant: Uint8Array }> {
  for (let at = 0; at < bytes.length; at++) {
    const old = bytes[at]!;
    for (const value of new Set([old ^ 0x01, old ^ 0x80, 0x00, 0xff])) {
      if (value === old) continue;
      const mutant = bytes.slice();
      mutant[at] = value;
      yield { at, mutant };
    }
  }
  for (let at = 0; at < bytes.length; at++) yield { at, mutant: bytes.slice(0, at) };
}

/** Runs a decoder; gives what its value encodes to, undefined where it threw a FormatError. */
function again(run: () => Uint8Array): Uint8Array | undefined {
  try {
    return run();
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

/** Where the SHA-256 at the end of a file and the chain of a head fit again, so that what is changed is looked at. */
function repaired(vector: Vector, mutant: Uint8Array): Uint8Array | undefined {
  if (vector.reads.name === "prefix" || mutant.length !== vector.bytes.length) return undefined;
  const bytes = mutant.slice();
  const previous = vector.offsets.get("chain before");
  if (previous !== undefined) {
    const hash = createHash("sha256").update("sparsebak chain v1").update(bytes.subarray(14, 30));
    hash
      .update(bytes.subarray(46, 54))
      .update(bytes.subarray(previous, previous + 32))
      .update(bytes.subarray(70, previous));
    bytes.set(hash.digest(), previous + 32);
  }
  bytes.set(createHash("sha256").update(bytes.subarray(0, -32)).digest(), bytes.length - 32);
  return bytes;
}

describe("messages", () => {
  test.each(messageVectors.map((each) => [each.name, each] as const))("%s", (_, vector) => {
    const { from } = messages[vector.reads.name as MessageName];
    for (const { at, mutant } of mutants(vector.bytes)) {
      const found = again(() =>
        concatBytes(framesOf(concatBytes([encodePreamble(), mutant]), from).map(bytesOf)),
      );
      if (found !== undefined && !equalBytes(found, mutant)) {
        expect.fail(`changed at ${at}: ${toHex(mutant)} was read as ${toHex(found)}`);
      }
    }
  });
});

describe("structures", () => {
  test.each(structureVectors.map((each) => [each.name, each] as const))("%s", (_, vector) => {
    const { decode, encode } = structureOf(vector.reads.name);
    const { "file-size": fileSize } = vector.given;
    const given: Record<string, string> = fileSize === undefined ? {} : { "file-size": fileSize };
    let accepted = 0;
    for (const { at, mutant } of mutants(vector.bytes)) {
      for (const bytes of [mutant, repaired(vector, mutant)]) {
        if (bytes === undefined) continue;
        const found = again(() => encode(decode(bytes, given)));
        if (found === undefined) continue;
        accepted++;
        if (!equalBytes(found, bytes))
          expect.fail(`changed at ${at}: ${toHex(bytes)} was read as ${toHex(found)}`);
      }
    }
    // Only a digest that fits again lets a changed byte through; some byte of every good file is free.
    if (vector.expected === "ok") expect(accepted).toBeGreaterThan(0);
  });
});
