import { createHash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { bitmap, setRange } from "../../../dom0-agent/delta/bitmap.ts";
import { recordsAt, type VolumeTask } from "../../../dom0-agent/pipeline/job.ts";
import { jobsOf } from "../../../dom0-agent/pipeline/jobs.ts";
import { createPool } from "../../../dom0-agent/pipeline/pool.ts";
import { chunkIdOf } from "../../../protocol/archive/chunk-id.ts";
import { type ManifestEntry, recordBytes, recordReader } from "../../../protocol/archive/manifest.ts";
import { encodePreamble, frameDecoder } from "../../../protocol/wire/frame.ts";
import { tempDir } from "../../support/temp-dir.ts";

const chunkSize = 65_536;
const idKey = new Uint8Array(32).fill(9);

/** Chunks of repeatable bytes; every third is all zero. */
function imageOf(chunks: number, lastBytes: number): Buffer {
  const image = Buffer.alloc((chunks - 1) * chunkSize + lastBytes);
  for (let at = 0; at < image.length; at += 32) {
    if (Math.floor(at / chunkSize) % 3 === 2) continue;
    createHash("sha256")
      .update(String(at % 4096))
      .update(String(Math.floor(at / chunkSize)))
      .digest()
      .copy(image, at);
  }
  return image;
}

describe("pool", () => {
  test("gives frames and records of every chunk that differs, in order, and nothing for those that don't", async () => {
    using directory = tempDir();
    const chunks = 200;
    const image = imageOf(chunks, 1000);
    const volumeFd = openSync(join(directory.path, "volume"), "w+");
    const idsFd = openSync(join(directory.path, "ids"), "w+");
    writeSync(volumeFd, image);
    const plainOf = (i: number): Buffer => image.subarray(i * chunkSize, (i + 1) * chunkSize);
    // The map knows the first 150 chunks; every fifth of them is as it was.
    const knownChunks = 150;
    for (let i = 0; i < knownChunks; i++) {
      const same = i % 5 === 0;
      const id = same && i % 3 !== 2 ? chunkIdOf(idKey, plainOf(i)) : new Uint8Array(32).fill(same ? 0 : 7);
      writeSync(idsFd, id, 0, 32, i * 32);
    }
    const task: VolumeTask = {
      volumeFd,
      idsFd,
      knownChunks,
      size: image.length,
      chunkSize,
      idKey,
      sealed: undefined,
      level: 3,
      requestId: 5,
      lookups: [],
    };
    const chosen = bitmap(chunks);
    setRange(chosen, 0, 60);
    setRange(chosen, 61, chunks);
    const entries: ManifestEntry[] = [];
    const reader = recordReader({ size: image.length, chunkSize, containers: [] });
    const decoder = frameDecoder("agent");
    for (const _ of decoder.push(encodePreamble())) expect.fail("a preamble is no frame");
    const sent = new Map<number, Buffer>();
    let looked = 0;
    let zeros = 0;
    await using pool = createPool(2);
    await pool.run(
      task,
      jobsOf(chosen, chunkSize),
      async (result) => {
        const bytes = new Uint8Array(result.buffer);
        const at = recordsAt(chunkSize);
        entries.push(...reader.read(bytes.slice(at, at + result.records * recordBytes)));
        for (const frame of decoder.push(bytes.subarray(0, result.frames))) {
          if (frame.type !== "chunk") return expect.fail(frame.type);
          expect(frame.id).toBe(5);
          expect(Buffer.from(frame.body.checksum)).toEqual(
            createHash("sha256").update(frame.body.bytes).digest(),
          );
          sent.set(frame.body.address / chunkSize, zstdDecompressSync(frame.body.bytes));
        }
        looked += result.chunks;
        zeros += result.zeroChunks;
      },
      AbortSignal.timeout(20_000),
    );
    closeSync(volumeFd);
    closeSync(idsFd);

    const wanted = Array.from({ length: chunks }, (_, i) => i).filter(
      (i) => i !== 60 && !(i < knownChunks && i % 5 === 0),
    );
    expect(entries.map((entry) => entry.address / chunkSize)).toEqual(wanted);
    expect(looked).toBe(chunks - 1);
    expect(zeros).toBe(
      Array.from({ length: chunks }, (_, i) => i).filter((i) => i !== 60 && i % 3 === 2).length,
    );
    for (const entry of entries) {
      const i = entry.address / chunkSize;
      if (i % 3 === 2) expect(entry.kind).toBe("hole");
      else {
        expect(entry).toMatchObject({ kind: "chunk", container: 0, storedAddress: entry.address });
        expect(sent.get(i)).toEqual(plainOf(i));
      }
    }
    expect(sent.size).toBe(entries.filter((entry) => entry.kind === "chunk").length);
  });

  test("an error of one job ends the run with it, and the pool can be used again", async () => {
    using directory = tempDir();
    const path = join(directory.path, "volume");
    const fd = openSync(path, "w+");
    writeSync(fd, Buffer.alloc(chunkSize * 4, 1));
    const task: VolumeTask = {
      volumeFd: fd,
      idsFd: fd,
      knownChunks: 0,
      size: chunkSize * 40,
      chunkSize,
      idKey,
      sealed: undefined,
      level: 3,
      requestId: 1,
      lookups: [],
    };
    const all = bitmap(40);
    setRange(all, 0, 40);
    await using pool = createPool(2);
    const use = async (): Promise<void> => undefined;
    await expect(pool.run(task, jobsOf(all, chunkSize), use, AbortSignal.timeout(20_000))).rejects.toThrow(
      /read the volume: found its end at byte 262144/,
    );
    const some = bitmap(4);
    setRange(some, 0, 4);
    let results = 0;
    await pool.run(
      { ...task, size: chunkSize * 4 },
      jobsOf(some, chunkSize),
      async () => void results++,
      AbortSignal.timeout(20_000),
    );
    expect(results).toBe(1);
    closeSync(fd);
  });
});
