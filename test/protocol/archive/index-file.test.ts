// An index for whoever looks things up in it (docs/archive-format.md, F16 and F17).

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { equalBytes } from "../../../protocol/bytes.ts";
import {
  containerOf,
  decodeIndex,
  encodeIndex,
  type VolumeIndex,
} from "../../../protocol/archive/index-file.ts";
import type { SessionUid } from "../../../protocol/archive/types.ts";
import { index as anyIndex } from "../arbitraries.ts";

describe("F17: every session has its container", () => {
  test("by uid; a uid that is not there has none", () => {
    fc.assert(
      fc.property(anyIndex, (made) => {
        const index = decodeIndex(encodeIndex(made));
        for (const session of index.sessions) {
          const found = containerOf(index, session.uid.slice() as SessionUid);
          expect(found && equalBytes(found.uid, session.uid)).toBe(true);
          expect(found!.manifestGeneration).toBeGreaterThan(0);
        }
        const [first] = index.containers;
        if (first) {
          const other = first.uid.slice() as SessionUid;
          other[0] = other[0]! ^ 1;
          if (!index.containers.some((each) => equalBytes(each.uid, other)))
            expect(containerOf(index, other)).toBeUndefined();
        }
      }),
      { numRuns: 50 },
    );
  });

  test("an index of ten thousand sessions is read, and each found", () => {
    const uid = (n: number): SessionUid => {
      const bytes = new Uint8Array(16);
      new DataView(bytes.buffer).setUint32(0, n);
      return bytes as SessionUid;
    };
    const count = 10_000;
    const digest = new Uint8Array(32).fill(1) as VolumeIndex["containers"][0]["listDigest"];
    const index: VolumeIndex = {
      archive: new Uint8Array(16) as VolumeIndex["archive"],
      volume: new Uint8Array(16) as VolumeIndex["volume"],
      generation: 1 as VolumeIndex["generation"],
      name: "v",
      group: new Uint8Array(16) as VolumeIndex["group"],
      containers: Array.from({ length: count }, (_, n) => ({
        uid: uid(n),
        name: `S_${String(n).padStart(8, "0")}-000000` as VolumeIndex["containers"][0]["name"],
        form: "dir" as const,
        headerDigest: digest,
        listGeneration: 0 as VolumeIndex["generation"],
        listDigest: digest,
        manifestGeneration: 1 as VolumeIndex["generation"],
        manifestDigest: digest,
        chunks: 1,
        storedBytes: 1,
      })),
      sessions: Array.from({ length: count }, (_, n) => ({
        uid: uid(n),
        sequence: n + 1,
        takenAt: n,
        size: 0,
        mapRoot: digest,
        consistency: "clean" as const,
        protected: false,
        tags: [],
      })),
    };
    const found = decodeIndex(encodeIndex(index));
    expect(
      found.sessions.every((each, n) => containerOf(found, each.uid)?.name === index.containers[n]!.name),
    ).toBe(true);
  });
});
