// node bench/chunk-index.ts [CHUNKS, 8000000]: what an index of many chunks costs. Sessions of 250 000 chunks each are added
// one after another, as sends do; then chunks are looked up at random, those that are there and those that are not. What
// it has come to is said at each million: eight of them take minutes. With the agent's own limits, as the programs
// run: node --max-semi-space-size=1 bench/chunk-index.ts

import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openChunkIndex } from "../dom0-agent/state/chunk-index.ts";
import { createTable, entriesOf, findChunk, pageBytes } from "../dom0-agent/state/chunk-table.ts";
import type { GroupPaths } from "../dom0-agent/state/layout.ts";
import type { ChunkAddress, Digest, SessionUid, VolumeId } from "../protocol/archive/types.ts";

const perSession = 250_000;
const lookups = 200_000;
const chunkSize = 131_072;

/** The id of the i-th chunk: any 32 bytes that look random will do. */
function idOf(i: number): Uint8Array {
  return new Uint8Array(createHash("sha256").update(String(i)).digest());
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}

export async function benchIndex(chunks: number, directory: string = tmpdir()): Promise<void> {
  const place = mkdtempSync(join(directory, "sparsebak-index-"));
  const paths: GroupPaths = { directory: place, table: join(place, "table"), stamp: join(place, "stamp") };
  // The most that was resident so far, in bytes.
  const peak = (): number => process.resourceUsage().maxRSS * 1024;
  const before = peak();
  const ignored = (): void => undefined;
  try {
    using index = openChunkIndex(paths, ignored);
    const volume = new Uint8Array(randomBytes(16)) as VolumeId;
    let fresh = 0;
    let merged = 0;
    for (let from = 0; from < chunks; from += perSession) {
      const count = Math.min(perSession, chunks - from);
      using session = createTable(join(place, "fresh"), count);
      let started = performance.now();
      for (let i = from; i < from + count; i++) {
        const id = idOf(i);
        const storedAddress = (i * chunkSize) as ChunkAddress;
        session.add(id, { container: 0, storedAddress, storedLength: 60_000, checksum: id as Digest });
      }
      session.flush();
      fresh += performance.now() - started;
      started = performance.now();
      const uid = new Uint8Array(randomBytes(16)) as SessionUid;
      const digest = idOf(-1) as Digest;
      await index.update(
        () => [{ volume, indexDigest: digest }],
        (edit) => {
          const container = edit.numberOf({ volume, session: uid, listDigest: digest }) ?? 0;
          edit.reserve(count);
          for (const { id, place: at } of entriesOf(session.file)) edit.add(id, { ...at, container });
        },
      );
      merged += performance.now() - started;
      if ((from + count) % 1_000_000 === 0)
        process.stdout.write(
          `${from + count} chunks after ${((fresh + merged) / 1000).toFixed(0)} s, at most ${megabytes(peak())}\n`,
        );
    }
    const page = new Uint8Array(pageBytes);
    const timed = (first: number, wanted: boolean): number => {
      const started = performance.now();
      for (let n = 0; n < lookups; n++) {
        const i = first + Math.floor(Math.random() * chunks);
        if ((findChunk(index.file, idOf(i), page) !== undefined) !== wanted) throw new Error(`chunk ${i}`);
      }
      return (performance.now() - started) / lookups;
    };
    const hit = timed(0, true);
    const miss = timed(chunks, false);
    const microseconds = (milliseconds: number): string => `${(milliseconds * 1000).toFixed(1)} µs`;
    process.stdout.write(
      [
        `${index.entries} chunks, ${megabytes(statSync(paths.table).size)} on disk`,
        `a chunk of a session that is being made: ${microseconds(fresh / chunks)}`,
        `a chunk of it when it is committed: ${microseconds(merged / chunks)}`,
        `a look-up that finds: ${microseconds(hit)}, that does not: ${microseconds(miss)} (with the chunk's id)`,
        `memory: at most ${megabytes(peak())}, ${megabytes(before)} before`,
        "",
      ].join("\n"),
    );
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

if (import.meta.main) await benchIndex(Number(process.argv[2] ?? 8_000_000));
