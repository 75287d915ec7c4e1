// Every golden vector in protocol/vectors, whole, byte by byte, and as a round trip.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { concatBytes, fromHex, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { chunkIdOf, publicIdKey } from "../../protocol/archive/chunk-id.ts";
import { groupCount, groupDigest, mapRootBuilder, mapRootOf } from "../../protocol/archive/map-root.ts";
import type { ArchiveUuid, Digest, Generation, GroupId } from "../../protocol/archive/types.ts";
import { archiveKeys, logEntry } from "../../protocol/seal/keys.ts";
import { encodePreamble } from "../../protocol/wire/frame.ts";
import { type MessageName, messages } from "../../protocol/wire/messages.ts";
import { bytesOf, everyByte, framesOf } from "./streams.ts";
import { structureOf, structures } from "./structures.ts";
import { render } from "./vectors/layout.ts";
import { allCases, vectorsDirectory } from "./vectors/make.ts";
import { plain, readVectors, type Vector } from "./vectors/read.ts";

const vectors = readVectors(vectorsDirectory);
const of = (kind: Vector["reads"]["kind"], name?: string): readonly Vector[] =>
  vectors.filter((each) => each.reads.kind === kind && (name === undefined || each.reads.name === name));

/** The code of the FormatError that `run` throws, `ok` when it does not. */
function outcome(run: () => void): string {
  try {
    run();
    return "ok";
  } catch (error) {
    if (error instanceof FormatError) return error.code;
    throw error;
  }
}

describe("the files", () => {
  test("are those that their generator makes, and no others", () => {
    const found = readdirSync(vectorsDirectory, { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".txt"))
      .sort();
    expect(found).toEqual(allCases.map((each) => `${each.file}.txt`).sort());
    for (const each of allCases) {
      expect(readFileSync(join(vectorsDirectory, `${each.file}.txt`), "utf8"), each.file).toBe(render(each));
    }
  });

  test.each([
    ...Object.keys(messages).map((name) => ["message", name] as const),
    ...[...Object.keys(structures), "preamble"].map((name) => ["structure", name] as const),
  ])("hold an accepted and a refused %s %s", (kind, name) => {
    const expected = of(kind, name).map((each) => each.expected);
    expect(expected).toContain("ok");
    expect(expected.some((each) => each !== "ok")).toBe(true);
  });
});

describe("messages (protocol.md, P7 to P12)", () => {
  test.each(of("message").map((each) => [each.name, each] as const))("%s", (_, vector) => {
    const name = vector.reads.name as MessageName;
    const { from } = messages[name];
    const stream = concatBytes([encodePreamble(), vector.bytes]);
    for (const cuts of [[], everyByte(stream), [16], [16 + 12], [16 + 12 + 1]]) {
      expect(
        outcome(() => framesOf(stream, from, 0, cuts)),
        `cut at ${cuts.slice(0, 3).join(", ")}`,
      ).toBe(vector.expected);
      if (vector.expected !== "ok") continue;
      const frames = framesOf(stream, from, 0, cuts);
      expect(frames.map(({ type, id, body }) => plain({ type, id, ...body }))).toEqual([
        { type: name, ...vector.value },
      ]);
      expect(toHex(bytesOf(frames[0]!))).toBe(toHex(vector.bytes));
    }
  });
});

describe("the preamble (protocol.md, P4 to P6)", () => {
  test.each(of("structure", "preamble").map((each) => [each.name, each] as const))("%s", (_, vector) => {
    const noise = Number(vector.given["noise"]);
    for (const cuts of [[], everyByte(vector.bytes)]) {
      expect(outcome(() => framesOf(vector.bytes, "receiver", noise, cuts))).toBe(vector.expected);
    }
    if (vector.expected === "ok") expect(toHex(vector.bytes.subarray(-16))).toBe(toHex(encodePreamble()));
  });
});

describe("structures of the archive (archive-format.md, F7 to F28)", () => {
  const whole = vectors.filter((each) => each.reads.kind === "structure" && each.reads.name in structures);

  test.each(whole.map((each) => [each.name, each] as const))("%s", (_, vector) => {
    const structure = structureOf(vector.reads.name);
    // In the middle of something larger: an offset of its own, and bytes behind it that must not be read.
    const around = new Uint8Array(vector.bytes.length + 64).fill(0xee);
    around.set(vector.bytes, 17);
    for (const bytes of [vector.bytes, around.subarray(17, 17 + vector.bytes.length)]) {
      expect(outcome(() => structure.decode(bytes, vector.given))).toBe(vector.expected);
      if (vector.expected !== "ok") continue;
      const value = structure.decode(bytes, vector.given);
      expect(plain(value)).toMatchObject(vector.value);
      expect(toHex(structure.encode(value))).toBe(toHex(vector.bytes));
    }
  });
});

describe("what is derived", () => {
  const bytes = <T>(hex: string | undefined): T => fromHex(hex ?? "") as T;

  test.each(of("structure", "chunk-id"))(
    "$name (archive-format.md, F26)",
    ({ given, value, bytes: plaintext }) => {
      const key = publicIdKey(
        bytes(given["seed"]),
        bytes<ArchiveUuid>(given["archive"]),
        bytes<GroupId>(given["group"]),
      );
      expect(toHex(key)).toBe(value["idKey"]);
      expect(toHex(chunkIdOf(key, plaintext))).toBe(value["id"]);
    },
  );

  test.each(of("structure", "map-root"))("$name (archive-format.md, F19)", ({ given, value, bytes: ids }) => {
    const [size, chunkSize, first] = [
      Number(given["size"]),
      Number(given["chunk-size"]),
      Number(given["first-chunk"] ?? 0),
    ];
    const map = new Uint8Array(Math.ceil(size / chunkSize) * 32);
    map.set(ids, first * 32);
    const groups = Array.from({ length: groupCount(size, chunkSize) }, (_, i) =>
      groupDigest(i, map.subarray(i * 4096 * 32, (i + 1) * 4096 * 32)),
    );
    expect(groups.map(toHex)).toEqual(value["groups"]);
    expect(toHex(mapRootOf(size, chunkSize, concatBytes(groups)))).toBe(value["root"]);
    const builder = mapRootBuilder(size, chunkSize);
    for (let at = 0; at < map.length; at += 32) {
      const id = map.subarray(at, at + 32);
      builder.add(id.some((byte) => byte !== 0) ? id : undefined, 1);
    }
    expect(toHex(builder.root())).toBe(value["root"]);
  });

  test.each(of("structure", "log-entry"))(
    "$name (archive-format.md, F15)",
    ({ given, value, bytes: chain }) => {
      const keys = archiveKeys(bytes(given["master"]), bytes<ArchiveUuid>(given["archive"]));
      expect([keys.header, keys.head, keys.log].map(toHex)).toEqual([
        value["headerKey"],
        value["headKey"],
        value["logKey"],
      ]);
      expect(toHex(logEntry(keys, Number(given["generation"]) as Generation, chain as Digest))).toBe(
        value["entry"],
      );
    },
  );
});
