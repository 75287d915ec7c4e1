// node bench/chunk-index.ts [CHUNKS, 8000000]: what an index of many chunks costs. Sessions of 250 000 chunks each are added
// one after another, as sends do; then chunks are looked up at random, those that are there and those that are not. What
// it has come to is said at each million: eight of them take minutes. The index is one that a real send has begun, and
// there are real sends before it has grown and after: how long they take, and the most memory of agent and receiver. With
// the agent's own limits, as the programs run: node --max-semi-space-size=1 bench/chunk-index.ts. Wants ./run build
// before.

import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ChunkIndex, openChunkIndex } from "../dom0-agent/state/chunk-index.ts";
import { createTable, entriesOf, findChunk, pageBytes } from "../dom0-agent/state/chunk-table.ts";
import { type GroupPaths, stateLayout } from "../dom0-agent/state/layout.ts";
import type { ChunkAddress, Digest, GroupId, SessionUid, VolumeId } from "../protocol/archive/types.ts";
import { makeImage } from "./image.ts";
import { diskUse, measureBoth, mebibytes } from "./measure.ts";
import { makeSite, type Site, table } from "./programs.ts";

const perSession = 250_000;
const lookups = 200_000;
const chunkSize = 131_072;
const volume = "vm-bench-private.img";
const imageBytes = 1024 ** 3;

/** The id of the i-th chunk: any 32 bytes that look random will do. */
function idOf(i: number): Uint8Array {
  return new Uint8Array(createHash("sha256").update(String(i)).digest());
}

/** The most that was resident of this process so far, in bytes. */
function peak(): number {
  return process.resourceUsage().maxRSS * 1024;
}

function microseconds(milliseconds: number): string {
  return `${(milliseconds * 1000).toFixed(1)} µs`;
}

/** Adds that many chunks to the index: of sessions of another volume, that there are not. Gives lines about it. */
async function fill(index: ChunkIndex, paths: GroupPaths, chunks: number): Promise<readonly string[]> {
  const before = peak();
  const other = new Uint8Array(randomBytes(16)) as VolumeId;
  // The sends go by these: all that the archive has is in the index.
  const { volumes } = index;
  let fresh = 0;
  let merged = 0;
  for (let from = 0; from < chunks; from += perSession) {
    const count = Math.min(perSession, chunks - from);
    using session = createTable(`${paths.table}.fresh`, count);
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
    await index.update(
      () => volumes,
      (edit) => {
        const container = edit.numberOf({ volume: other, session: uid, listDigest: idOf(-1) as Digest }) ?? 0;
        edit.reserve(count);
        for (const { id, place: at } of entriesOf(session.file)) edit.add(id, { ...at, container });
      },
    );
    merged += performance.now() - started;
    if ((from + count) % 1_000_000 === 0)
      process.stdout.write(
        `${from + count} chunks after ${((fresh + merged) / 1000).toFixed(0)} s, at most ${mebibytes(peak())}\n`,
      );
  }
  rmSync(`${paths.table}.fresh`);
  return [
    `${index.entries} chunks, ${mebibytes(statSync(paths.table).size)} on disk`,
    `a chunk of a session that is being made: ${microseconds(fresh / chunks)}`,
    `a chunk of it when it is committed: ${microseconds(merged / chunks)}`,
    `memory: at most ${mebibytes(peak())}, ${mebibytes(before)} before`,
  ];
}

/** Looks up chunks that are among the `chunks` of `fill`, and others. */
function lookUp(index: ChunkIndex, chunks: number): string {
  const page = new Uint8Array(pageBytes);
  const timed = (first: number, wanted: boolean): number => {
    const started = performance.now();
    for (let n = 0; n < lookups; n++) {
      const i = first + Math.floor(Math.random() * chunks);
      if ((findChunk(index.file, idOf(i), page) !== undefined) !== wanted) throw new Error(`chunk ${i}`);
    }
    return (performance.now() - started) / lookups;
  };
  const hit = microseconds(timed(0, true));
  return `a look-up that finds: ${hit}, that does not: ${microseconds(timed(chunks, false))} (with the chunk's id)`;
}

/** Sends the volume with the content of `seed`. */
async function send(site: Site, what: string, seed: number): Promise<readonly string[]> {
  makeImage(join(site.images, volume), { size: imageBytes, dataBytes: imageBytes, seed });
  const before = diskUse(site.destination);
  const { seconds, cpuSeconds, ...peaks } = await measureBoth(site, ["-q", "send"]);
  const bytes = [diskUse(site.destination) - before, peaks.agentBytes, peaks.receiverBytes];
  return [what, seconds.toFixed(1), cpuSeconds.toFixed(1), ...bytes.map(mebibytes)];
}

const chunks = Number(process.argv[2] ?? 8_000_000);
const directory = mkdtempSync(join(tmpdir(), "sparsebak-index-"));
try {
  const site = makeSite(directory, [volume]);
  const first = await send(site, "first send", 1);
  const small = await send(site, "all of it new", 2);
  const archive = stateLayout(directory).archive("default");
  const [group = ""] = readdirSync(join(archive.directory, "indexes"));
  const paths = archive.group(Uint8Array.fromHex(group) as GroupId);
  const unusable = (message: string): never => {
    throw new Error(message);
  };
  {
    using index = openChunkIndex(paths, unusable);
    for (const line of await fill(index, paths, chunks)) console.log(line);
    console.log(lookUp(index, chunks));
  }
  const rows = [
    first,
    small,
    await send(site, `new, of ${chunks}`, 3),
    await send(site, `known, of ${chunks}`, 1),
  ];
  using after = openChunkIndex(paths, unusable);
  if (after.entries <= chunks) throw new Error("the sends have made the index again");
  console.log(
    table([[`${mebibytes(imageBytes)} of data`, "seconds", "CPU", "stored", "agent", "receiver"], ...rows]),
  );
} finally {
  rmSync(directory, { recursive: true, force: true });
}
