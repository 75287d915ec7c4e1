// Sealed indexes, headers and manifests (archive-format.md, F9, F16, F18, F20): the known answers, and that nothing but
// what was sealed opens.

import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeIndex,
  decodeIndexContainers,
  encodeIndex,
  type VolumeIndex,
} from "../../../protocol/archive/index-file.ts";
import {
  encodeRecord,
  type ManifestEntry,
  type ManifestHead,
  manifestWriter,
  openManifest,
  recordBytes,
  recordReader,
} from "../../../protocol/archive/manifest.ts";
import { decodePrefix, prefixBytes, sha256 } from "../../../protocol/archive/prefix.ts";
import {
  bodySource,
  type BodyOpener,
  type ByteSource,
  fileWriter,
  openedBodyBytes,
  sealedBodyBytes,
} from "../../../protocol/archive/sealed-body.ts";
import { decodeSessionHeader, encodeSessionHeader } from "../../../protocol/archive/session-header.ts";
import type { ChunkAddress, ChunkId, Digest, Generation, VolumeId } from "../../../protocol/archive/types.ts";
import { concatBytes } from "../../../protocol/bytes.ts";
import { FormatError } from "../../../protocol/errors.ts";
import { fileOpener, fileSealer, volumeOpener } from "../../../protocol/seal/file-seal.ts";
import { volumeKey } from "../../../protocol/seal/keys.ts";
import { index as anyIndex } from "../arbitraries.ts";
import { plain } from "../vectors/read.ts";
import { archive, known, master, salt, session, volume } from "./known.ts";

const sealer = fileSealer(master, () => salt);
const opener = fileOpener(master);
const forVolume = volumeOpener(volumeKey(master, archive, volume), archive, volume);
const of = { archive, volume, generation: 2 as Generation };
const manifestHead: ManifestHead = { session, size: 131_072 * 2000, chunkSize: 131_072, containers: [] };

function closed(parts: Iterable<Uint8Array>): Uint8Array {
  const whole = concatBytes([...parts].map((each) => each.slice()));
  return concatBytes([whole, sha256(whole)]);
}
function sourceOf(bytes: Uint8Array): ByteSource {
  return { length: bytes.length, read: (into, at) => into.set(bytes.subarray(at, at + into.length)) };
}
function manifestOf(entries: readonly ManifestEntry[]): Uint8Array {
  const records = new Uint8Array(entries.length * recordBytes);
  entries.forEach((entry, i) => encodeRecord(records, i * recordBytes, entry));
  const writer = manifestWriter(of, manifestHead, entries.length, sealer);
  const bytes = closed(writer.parts([records]));
  expect(bytes.length).toBe(writer.length);
  return bytes;
}
function entriesOf(bytes: Uint8Array, by: BodyOpener): readonly ManifestEntry[] {
  const manifest = openManifest(sourceOf(bytes), of, by);
  const records = new Uint8Array(manifest.records * recordBytes);
  // Backwards and by threes: records are read anywhere, across segments too.
  for (let first = manifest.records - 1; first >= 0; first--) {
    const count = Math.min(3, manifest.records - first);
    const into = records.subarray(first * recordBytes, (first + count) * recordBytes);
    manifest.readRecords(into, first);
  }
  return recordReader(manifest).read(records);
}
const chunkAt = (i: number): ManifestEntry => ({
  kind: "chunk",
  address: (131_072 * i) as ChunkAddress,
  run: 1,
  id: filled(i + 1) as ChunkId,
  container: 0,
  storedAddress: (131_072 * i) as ChunkAddress,
  storedLength: 100 + i,
  checksum: filled(i + 7) as Digest,
});
function filled(word: number): Uint8Array {
  const bytes = new Uint8Array(32);
  for (let at = 0; at < 32; at += 4) new DataView(bytes.buffer).setUint32(at, word);
  return bytes;
}
function codeOf(run: () => unknown): string {
  try {
    run();
    return "ok";
  } catch (error) {
    if (error instanceof FormatError) return error.code;
    throw error;
  }
}

describe("known answers", () => {
  test("an index: public containers, sealed rest", () => {
    const vector = known("index");
    const bytes = vector.bytes("bytes");
    for (const by of [opener, forVolume]) {
      const found = decodeIndex(bytes, of, by);
      expect(found).toMatchObject({ name: vector.text("name"), sessions: [{ tags: [vector.text("tag")] }] });
      expect(encodeIndex(found, sealer)).toEqual(bytes);
    }
    expect(decodeIndexContainers(bytes, of).containers).toHaveLength(1);
    expect(codeOf(() => decodeIndex(bytes, of))).toBe("bad-value");
    expect(Buffer.from(bytes).includes(vector.text("name"))).toBe(false);
    expect(Buffer.from(bytes).includes(vector.text("tag"))).toBe(false);
  });

  test("a header", () => {
    const vector = known("header");
    const bytes = vector.bytes("bytes");
    const found = decodeSessionHeader(bytes, of, opener);
    expect(found.volumeName).toBe(vector.text("volumeName"));
    expect(encodeSessionHeader(found, sealer)).toEqual(bytes);
  });

  test("a manifest, and one of several segments", () => {
    const small = known("manifest").bytes("bytes");
    const entries = entriesOf(small, opener);
    expect(manifestOf(entries)).toEqual(small);
    const long = known("long-manifest");
    const bytes = manifestOf(Array.from({ length: long.number("records") }, (_, i) => chunkAt(i)));
    expect(bytes.length).toBe(long.number("length"));
    expect(sha256(bytes)).toEqual(long.bytes("sha256"));
    expect(plain(entriesOf(bytes, opener))).toEqual(
      plain(Array.from({ length: long.number("records") }, (_, i) => chunkAt(i))),
    );
  });

  test("whole segments have no empty one behind them, and an empty body has one", () => {
    const vector = known("exact-segments");
    const body = Uint8Array.from({ length: 2 * 65_536 }, (_, i) => i * 7 + (i >> 8));
    const writer = fileWriter({ kind: "manifest", ...of }, new Uint8Array(0), sealer);
    // However the body comes in.
    for (const step of [body.length, 65_536, 10_007]) {
      const parts = Array.from({ length: Math.ceil(body.length / step) }, (_, i) =>
        body.subarray(i * step, (i + 1) * step),
      );
      const bytes = closed(writer.parts(parts));
      expect(bytes.length).toBe(vector.number("length"));
      expect(writer.length(body.length)).toBe(bytes.length);
      expect(createHash("sha256").update(bytes).digest("hex")).toBe(
        Buffer.from(vector.bytes("sha256")).toString("hex"),
      );
    }
    expect(closed(writer.parts([]))).toEqual(vector.bytes("empty"));
  });
});

describe("nothing else opens", () => {
  const index = known("index").bytes("bytes");
  const header = known("header").bytes("bytes");
  const manifest = known("manifest").bytes("bytes");
  const repaired = (bytes: Uint8Array): Uint8Array => {
    bytes.set(sha256(bytes.subarray(0, -32)), bytes.length - 32);
    return bytes;
  };

  test("every single-byte change is refused, also where the digest fits again", () => {
    for (const [bytes, read, covered] of [
      [index, (raw: Uint8Array) => decodeIndex(raw, {}, opener), index.length],
      [header, (raw: Uint8Array) => decodeSessionHeader(raw, {}, opener), header.length],
      // Its closing digest is compared with the one that the index names, before it is opened.
      [manifest, (raw: Uint8Array) => entriesOf(raw, opener), manifest.length - 32],
    ] as const) {
      for (let at = 0; at < covered; at++) {
        for (const bit of [1, 0x80]) {
          const changed = bytes.slice();
          changed[at] = (changed[at] ?? 0) ^ bit;
          expect(
            codeOf(() => read(changed)),
            `byte ${at}`,
          ).not.toBe("ok");
          if (at < bytes.length - 32)
            expect(
              codeOf(() => read(repaired(changed))),
              `byte ${at}`,
            ).not.toBe("ok");
        }
      }
      for (let cut = 0; cut < bytes.length; cut += 7) {
        expect(codeOf(() => read(repaired(bytes.slice(0, Math.max(cut, prefixBytes + 32)))))).not.toBe("ok");
      }
    }
  });

  test("segments can't be cut off, moved or added", () => {
    const records = Array.from({ length: 1500 }, (_, i) => chunkAt(i));
    const bytes = manifestOf(records);
    const [from, size] = [prefixBytes, 65_536 + 16];
    const [first, second, rest] = [
      bytes.slice(from, from + size),
      bytes.slice(from + size, from + 2 * size),
      bytes.slice(from + 2 * size, -32),
    ];
    const prefix = decodePrefix(bytes);
    const read = (...segments: Uint8Array[]): string => {
      const sealed = concatBytes(segments);
      return codeOf(() => {
        const body = bodySource(prefix, new Uint8Array(0), sourceOf(sealed), opener);
        const all = new Uint8Array(body.length);
        body.read(all, 0);
      });
    };
    expect(read(first, second, rest)).toBe("ok");
    expect(read(first, second)).toBe("bad-mac");
    expect(read(second, first, rest)).toBe("bad-mac");
    expect(read(first, first, rest)).toBe("bad-mac");
    expect(read(first, second, second, rest)).toBe("bad-mac");
    expect(read(rest)).toBe("bad-mac");
  });

  test("a file of another key, volume or protection", () => {
    const otherVolume = new Uint8Array(16).fill(9) as VolumeId;
    expect(codeOf(() => decodeIndex(index, {}, fileOpener(new Uint8Array(32))))).toBe("bad-mac");
    const wrongVolume = volumeOpener(volumeKey(master, archive, otherVolume), archive, otherVolume);
    expect(codeOf(() => decodeIndex(index, {}, wrongVolume))).toBe("bad-mac");
    const unsealed = encodeIndex(decodeIndex(index, {}, opener));
    expect(codeOf(() => decodeIndex(unsealed))).toBe("ok");
    // A sealed archive's reader never takes a file that is not sealed, however well formed.
    expect(codeOf(() => decodeIndex(unsealed, {}, opener))).toBe("bad-value");
  });

  test("every file has a salt of its own", () => {
    const once = encodeIndex(decodeIndex(index, {}, opener), fileSealer(master));
    const again = encodeIndex(decodeIndex(index, {}, opener), fileSealer(master));
    expect(Buffer.from(decodePrefix(once).salt).equals(decodePrefix(again).salt)).toBe(false);
    expect(plain(decodeIndex(once, {}, opener))).toEqual(plain(decodeIndex(again, {}, opener)));
  });
});

describe("properties", () => {
  test("an index that was sealed opens to itself, and shows its containers to everybody", () => {
    fc.assert(
      fc.property(anyIndex, (value: VolumeIndex) => {
        const bytes = encodeIndex(value, fileSealer(master));
        expect(plain(decodeIndex(bytes, {}, opener))).toEqual(plain(value));
        expect(plain(decodeIndexContainers(bytes).containers)).toEqual(plain(value.containers));
      }),
      { numRuns: 100 },
    );
  });

  test("lengths are exact, and only those of whole segments are taken", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_000_000 }), (length) => {
        expect(openedBodyBytes(sealedBodyBytes(length))).toBe(length);
      }),
    );
    for (const bad of [0, 1, 15, 65_552 + 1, 65_552 + 16, 2 * 65_552 + 16])
      expect(codeOf(() => openedBodyBytes(bad))).toBe("truncated");
  });
});
