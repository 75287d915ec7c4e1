// Reading chunks from a receiver that answers as it likes: what was asked for, in that order, or an error; and nothing more
// is read from it while dom0 has no room.

import { describe, expect, test } from "vitest";
import { type Client, connect } from "../../../dom0-agent/archive/client.ts";
import type { Transport } from "../../../dom0-agent/transport/transport.ts";
import type { ArchiveUuid, ChunkAddress, SessionUid, VolumeId } from "../../../protocol/archive/types.ts";
import { encodeFrame, type Frame } from "../../../protocol/wire/frame.ts";
import { type MemoryReceiver, polite } from "../../support/memory-receiver.ts";

const uid = new Uint8Array(16).fill(1);
const addresses = [0, 65_536, 262_144] as ChunkAddress[];

/** `answer` gives the frames for a readChunks, each sent by itself. */
function receiver(answer: (asked: Frame) => Iterable<Uint8Array>): MemoryReceiver {
  return polite((frame) => (frame.type === "readChunks" ? answer(frame) : []));
}

async function client(transport: Transport): Promise<Client> {
  return connect({
    transport,
    service: "sparsebak.Receive",
    where: { mountpoint: "/mnt", directory: "d", archive: new Uint8Array(16) as ArchiveUuid },
    stallSeconds: 60,
    signal: new AbortController().signal,
  });
}

function stored(id: number, address: number, ...bytes: readonly number[]): Uint8Array {
  return encodeFrame("stored", id, { address: address as ChunkAddress, bytes: Uint8Array.from(bytes) });
}

/** `bytes` of stored form have been sent. */
const done = (id: number, bytes = 0): Uint8Array => encodeFrame("done", id, { bytes });

async function read(transport: Transport): Promise<readonly string[]> {
  await using open = await client(transport);
  const seen: string[] = [];
  await open.readChunks(uid as VolumeId, uid as SessionUid, addresses, (address, untrusted) => {
    seen.push(`${address}: ${untrusted?.join(" ") ?? "missing"}`);
    return undefined;
  });
  return seen;
}

describe("readChunks", () => {
  test("gives each chunk that was asked for, or that it is missing", async () => {
    const honest = receiver(({ id }) => [
      stored(id, 0, 1, 2),
      stored(id, 65_536),
      stored(id, 262_144, 3),
      done(id, 3),
    ]);
    expect(await read(honest)).toEqual(["0: 1 2", "65536: missing", "262144: 3"]);
  });

  test.each<[string, (id: number) => Uint8Array[], RegExp]>([
    ["another chunk", (id) => [stored(id, 131_072, 1)], /broke the protocol.*wanted 0/],
    ["another order", (id) => [stored(id, 65_536, 1), stored(id, 0, 1)], /broke the protocol/],
    ["one twice", (id) => [stored(id, 0, 1), stored(id, 0, 1)], /wanted 65536/],
    ["fewer", (id) => [stored(id, 0, 1), done(id, 1)], /1 chunks came, 3 were asked for/],
    [
      "more",
      (id) => [...addresses.map((each) => stored(id, each, 1)), stored(id, 327_680, 1)],
      /wanted no more of them/,
    ],
    ["another request's", (id) => [stored(id + 1, 0, 1)], /broke the protocol/],
    ["data", (id) => [encodeFrame("data", id, { bytes: Uint8Array.from([1]) })], /broke the protocol/],
  ])("%s: an error", async (_, frames, message) => {
    await expect(read(receiver(({ id }) => frames(id)))).rejects.toThrow(message);
  });

  test("while a chunk is being dealt with, nothing more is read", async () => {
    const eager = receiver(({ id }) => [
      ...addresses.map((each) => stored(id, each, 1)),
      done(id, addresses.length),
    ]);
    await using open = await client(eager);
    let release: () => void = () => undefined;
    let first = true;
    const reading = open.readChunks(uid as VolumeId, uid as SessionUid, addresses, () => {
      if (!first) return undefined;
      first = false;
      return new Promise<void>((resolve) => (release = resolve));
    });
    const before = eager.taken();
    await new Promise((resolve) => setImmediate(resolve));
    expect(eager.taken()).toBeLessThanOrEqual(before + 1);
    release();
    await reading;
    expect(eager.taken()).toBe(2 + 3 + 1);
  });

  test("what the caller can't deal with ends the connection, with the caller's words", async () => {
    const honest = receiver(({ id }) => [stored(id, 0, 1), stored(id, 65_536, 1), done(id, 2)]);
    await using open = await client(honest);
    const reading = open.readChunks(uid as VolumeId, uid as SessionUid, addresses, async () => {
      throw new Error("no room");
    });
    await expect(reading).rejects.toThrow("no room");
    await expect(
      open.readChunks(uid as VolumeId, uid as SessionUid, addresses, () => undefined),
    ).rejects.toThrow("no room");
  });
});
