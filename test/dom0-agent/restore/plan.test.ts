// The plan of a restore: every chunk that is wanted is fetched exactly once in its window, in the order that its container
// has it.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { bitmap, isSet, setRange } from "../../../dom0-agent/delta/bitmap.ts";
import { planWindows } from "../../../dom0-agent/restore/plan.ts";
import type { MapStep } from "../../../dom0-agent/restore/record-source.ts";
import { sha256 } from "../../../protocol/archive/prefix.ts";
import type { ChunkAddress, ChunkId } from "../../../protocol/archive/types.ts";
import { maxReadChunks } from "../../../protocol/wire/messages.ts";

const chunkSize = 65_536;

/** A chunk's place decides its content, as in an archive. */
function step(first: number, run: number, container: number, stored: number): MapStep {
  const address = (first * chunkSize) as ChunkAddress;
  if (container === 0) return { entry: undefined, address, run };
  const checksum = sha256(Buffer.from(`${container} ${stored}`));
  const entry = {
    kind: "chunk",
    address,
    run,
    container,
    storedAddress: (stored * chunkSize) as ChunkAddress,
    storedLength: 1 + stored,
    id: checksum as Uint8Array as ChunkId,
    checksum,
  } as const;
  return { entry, address, run };
}

const steps = fc
  .array(
    fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 30 })),
    {
      minLength: 1,
      maxLength: 60,
    },
  )
  .map((parts) => {
    let first = 0;
    return parts.map(([run, container, stored]) => {
      const made = step(first, run, container, stored);
      first += run;
      return made;
    });
  });

test("every wanted chunk once; requests rise within one container; windows cover the volume", () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 40 }), fc.boolean(), (map, windowChunks, some) => {
      const chunks = map.reduce((sum, each) => sum + each.run, 0);
      const size = chunks * chunkSize - 7;
      const wanted = some ? bitmap(chunks) : undefined;
      if (wanted !== undefined) for (let i = 0; i < chunks; i += 3) setRange(wanted, i, i + 2);
      const expected = new Map<number, string>();
      for (const { entry, address, run } of map) {
        if (entry?.kind !== "chunk") continue;
        for (let i = 0; i < run; i++) {
          const index = address / chunkSize + i;
          if (wanted === undefined || isSet(wanted, index))
            expected.set(index, `${entry.container} ${entry.storedAddress}`);
        }
      }
      let end = 0;
      for (const window of planWindows(map, { size, chunkSize, windowChunks, wanted })) {
        expect(window.start).toBe(end);
        end = window.end;
        for (const request of window.requests) {
          expect(request.length).toBeLessThanOrEqual(maxReadChunks);
          for (const [i, fetch] of request.entries()) {
            const before = request[i - 1];
            expect(fetch.container).toBe(request[0]?.container);
            if (before !== undefined) expect(fetch.storedAddress).toBeGreaterThan(before.storedAddress);
            for (let t = 0; t < fetch.targets.length; t += 2) {
              for (let n = 0; n < (fetch.targets[t + 1] ?? 0); n++) {
                const address = (fetch.targets[t] ?? 0) + n * chunkSize;
                expect(address >= window.start && address < window.end).toBe(true);
                expect(expected.get(address / chunkSize)).toBe(`${fetch.container} ${fetch.storedAddress}`);
                expected.delete(address / chunkSize);
              }
            }
          }
        }
      }
      expect(end).toBe(size);
      expect(expected.size).toBe(0);
    }),
  );
});

test("records that contradict each other are not taken for one", () => {
  const one = step(0, 1, 1, 4);
  const other = step(1, 1, 1, 4);
  if (other.entry?.kind !== "chunk") throw new Error("no chunk");
  const lying = {
    ...other,
    entry: { ...other.entry, id: sha256(Buffer.from("x")) as Uint8Array as ChunkId },
  };
  const [window] = planWindows([one, lying], { size: 2 * chunkSize, chunkSize, windowChunks: 16 });
  expect(window?.requests.map((each) => each.length)).toEqual([1, 1]);
});
