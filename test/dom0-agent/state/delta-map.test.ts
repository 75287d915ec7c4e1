import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bitmap, setRange } from "../../../dom0-agent/delta/bitmap.ts";
import { type DeltaMap, readDeltaMap, writeDeltaMap } from "../../../dom0-agent/state/delta-map.ts";
import { DamagedStateError } from "../../../dom0-agent/state/record.ts";
import { tempDir } from "../../support/temp-dir.ts";

function sample(): DeltaMap {
  const bits = bitmap(1001);
  setRange(bits, 17, 500);
  return {
    archive: new Uint8Array(16).fill(1) as DeltaMap["archive"],
    volume: new Uint8Array(16).fill(2) as DeltaMap["volume"],
    base: new Uint8Array(16).fill(3) as DeltaMap["base"],
    baseMapRoot: new Uint8Array(32).fill(4) as DeltaMap["baseMapRoot"],
    chunkSize: 131_072,
    size: 1001 * 131_072 - 512,
    poolUuid: "pool",
    snapshotUuid: "snap",
    thinId: 7,
    bits,
  };
}

describe("delta map file", () => {
  test("is read as it was written", () => {
    using directory = tempDir();
    const path = join(directory.path, "delta");
    expect(readDeltaMap(path)).toBeUndefined();
    writeDeltaMap(path, sample());
    expect(readDeltaMap(path)).toEqual(sample());
  });

  test("of chunks that none can be is damaged", () => {
    using directory = tempDir();
    const path = join(directory.path, "delta");
    writeDeltaMap(path, sample());
    const body = readFileSync(path).subarray(0, -32);
    const at = body.indexOf(Buffer.from([0, 2, 0, 0]));
    for (const odd of [0, 65_537]) {
      body.writeUInt32BE(odd, at);
      writeFileSync(path, Buffer.concat([body, createHash("sha256").update(body).digest()]));
      expect(() => readDeltaMap(path)).toThrow(DamagedStateError);
    }
  });

  test("every damaged byte and every cut is noticed", () => {
    using directory = tempDir();
    const path = join(directory.path, "delta");
    writeDeltaMap(path, sample());
    const whole = readFileSync(path);
    for (let at = 0; at < whole.length; at++) {
      const damaged = Uint8Array.from(whole);
      damaged[at] = (damaged[at] ?? 0) ^ 0x40;
      writeFileSync(path, damaged);
      expect(() => readDeltaMap(path)).toThrow(DamagedStateError);
    }
    for (const length of [0, 1, 31, 32, 33, whole.length - 1]) {
      writeFileSync(path, whole.subarray(0, length));
      expect(() => readDeltaMap(path)).toThrow(DamagedStateError);
    }
  });
});
