// How long the agent goes on with a receiver that says that it gets on (docs/security.md, S16): time is the test's own, and
// what the receiver says is the most that would still keep the connection.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Client, connect } from "../../../dom0-agent/archive/client.ts";
import type { ArchiveUuid, ChunkAddress, SessionUid, VolumeId } from "../../../protocol/archive/types.ts";
import { encodeFrame } from "../../../protocol/wire/frame.ts";
import type { MessageName, Service } from "../../../protocol/wire/messages.ts";
import { type MemoryReceiver, polite } from "../../support/memory-receiver.ts";

const uid = new Uint8Array(16).fill(1);
const of = { volume: uid as VolumeId, session: uid as SessionUid };
const stallSeconds = 300;
const mib = 1024 * 1024;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A receiver that is greeted, asked by `ask`, and then says what it likes under the id of the request. */
async function asked(
  service: Service,
  ask: (client: Client) => Promise<unknown>,
): Promise<{ readonly outcome: Promise<unknown>; readonly say: MemoryReceiver["say"]; readonly id: number }> {
  const transport = polite(() => []);
  const client = await connect({
    transport,
    service,
    where: { mountpoint: "/mnt", directory: "d", archive: new Uint8Array(16) as ArchiveUuid },
    stallSeconds,
    signal: new AbortController().signal,
  });
  const id = client.nextId;
  const outcome = ask(client).catch((error: unknown) => error);
  return { outcome, say: transport.say, id };
}

/** Says a frame just before each time that patience would end, `most` times. Gives how often it was listened to. */
async function waits(
  { outcome, say }: Awaited<ReturnType<typeof asked>>,
  frame: (i: number) => Uint8Array,
  most: number,
): Promise<number> {
  let ended = false;
  void outcome.then(() => (ended = true));
  for (let i = 0; i < most; i++) {
    say(frame(i));
    await vi.advanceTimersByTimeAsync(stallSeconds * 1000 - 1);
    if (ended) return i;
  }
  return most;
}

const requests: readonly (readonly [string, Service, (client: Client) => Promise<unknown>])[] = [
  ["sweep", "sparsebak.Prune", async (client) => client.ask("sweep", {})],
  [
    "discard",
    "sparsebak.Send",
    async (client) => client.ask("discard", { directory: "volume", session: of.session }),
  ],
  ["scrub of the rest", "sparsebak.Receive", async (client) => client.scrubRest()],
];

describe.each(requests)("%s", (_, service, ask) => {
  test("numbers that grow by a 64 KiB a time keep nobody for long", async () => {
    const receiver = await asked(service, ask);
    const kept = await waits(
      receiver,
      (i) => encodeFrame("progress", receiver.id, { bytes: (i + 1) * 65_536, chunks: 0 }),
      3000,
    );
    expect(kept).toBeLessThan(1500);
    expect(await receiver.outcome).toMatchObject({ message: "a receiver: no progress for 300 s" });
  });

  test("whatever the numbers, it ends", async () => {
    const receiver = await asked(service, ask);
    // The least that is a step, from the first to the last of them.
    const steps: number[] = [];
    for (
      let bytes = 65_536;
      bytes < 2 ** 53;
      bytes = Math.ceil(Math.max(bytes + 65_536, bytes * Math.exp(1 / 1024) + 1))
    )
      steps.push(bytes);
    const kept = await waits(
      receiver,
      (i) => encodeFrame("progress", receiver.id, { bytes: steps[i] ?? Number.MAX_SAFE_INTEGER, chunks: 0 }),
      steps.length,
    );
    expect(kept).toBeLessThan(19_000);
    expect(await receiver.outcome).toMatchObject({ message: "a receiver: no progress for 300 s" });
  });

  test("one that gets on at 10 MiB a second for three days is waited for", async () => {
    const receiver = await asked(service, ask);
    const most = (3 * 24 * 3600) / stallSeconds;
    const kept = await waits(
      receiver,
      (i) => encodeFrame("progress", receiver.id, { bytes: (i + 1) * 10 * mib * stallSeconds, chunks: i }),
      most,
    );
    expect(kept).toBe(most);
    receiver.say(encodeFrame("done", receiver.id, { bytes: 0 }));
    expect(await receiver.outcome).not.toBeInstanceOf(Error);
  });
});

test.each<
  [string, MessageName, Service, (client: Client) => Promise<unknown>, (id: number, i: number) => Uint8Array]
>([
  [
    "chunks that are not there",
    "stored",
    "sparsebak.Receive",
    async (client) =>
      client.readChunks(of.volume, of.session, [0, 65_536, 131_072] as ChunkAddress[], () => undefined),
    (id, i) => encodeFrame("stored", id, { address: (i * 65_536) as ChunkAddress, bytes: new Uint8Array(0) }),
  ],
  [
    "damages",
    "damage",
    "sparsebak.Receive",
    async (client) => client.scrub(of.volume, of.session, { chunks: 3, bytes: 3000, canHave: () => true }),
    (id, i) => encodeFrame("damage", id, { file: "chunk", what: "missing", ...of, number: i * 65_536 }),
  ],
  [
    "unfinished sessions",
    "pending",
    "sparsebak.Send",
    async (client) => client.listPending(),
    (id, i) =>
      encodeFrame("pending", id, {
        directory: `v${i}`,
        name: "S_20261123-101500" as never,
        form: "dir",
        finished: false,
        session: of.session,
      }),
  ],
])("an answer that brings no bytes is no progress: %s", async (_, _type, service, ask, frame) => {
  const receiver = await asked(service, ask);
  expect(await waits(receiver, (i) => frame(receiver.id, i), 3)).toBe(1);
  expect(await receiver.outcome).toMatchObject({ message: "a receiver: no progress for 300 s" });
});

test("chunks that come slowly are waited for, 64 KiB a time", async () => {
  const addresses = Array.from({ length: 10 }, (_, i) => (i * 65_536) as ChunkAddress);
  const receiver = await asked("sparsebak.Receive", async (client) =>
    client.readChunks(of.volume, of.session, addresses, () => undefined),
  );
  const bytes = new Uint8Array(65_536);
  const kept = await waits(
    receiver,
    (i) => encodeFrame("stored", receiver.id, { address: addresses[i] ?? (0 as ChunkAddress), bytes }),
    addresses.length,
  );
  expect(kept).toBe(addresses.length);
  receiver.say(encodeFrame("done", receiver.id, { bytes: bytes.length * addresses.length }));
  expect(await receiver.outcome).toBeUndefined();
});
