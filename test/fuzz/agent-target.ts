// The agent's end of the dialogue, run for real: connect, and requests of it, answered by a receiver that says mostly what is
// legal. Every request ends, by what was asked for or by an error that the command line can print; an answer that is
// taken is what was said, within its bound.

import * as fc from "fast-check";
import { AgentError } from "../../dom0-agent/errors.ts";
import { type Client, connect } from "../../dom0-agent/archive/client.ts";
import { RefusedError } from "../../dom0-agent/archive/refused-error.ts";
import { TransportError } from "../../dom0-agent/transport/transport.ts";
import type { ArchiveUuid, ChunkAddress, Digest } from "../../protocol/archive/types.ts";
import { concatBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { encodeFrame, encodePreamble, type Frame } from "../../protocol/wire/frame.ts";
import {
  type MessageName,
  type Messages,
  messages,
  type Service,
  services,
} from "../../protocol/wire/messages.ts";
import { transitions } from "../../protocol/wire/states.ts";
import { messageBodies } from "../protocol/arbitraries.ts";
import { type MemoryReceiver, memoryReceiver } from "../support/memory-receiver.ts";
import { mutate } from "./mutate.ts";
import type { Random } from "./random.ts";
import { Finding, type Target } from "./target.ts";

const corpusSize = 40;
const fromReceiver = (Object.keys(messages) as MessageName[]).filter(
  (name) => messages[name].from === "receiver",
);
/** The state that each request leads to, in which its answer is said. */
const stateAfter = new Map<MessageName, keyof typeof transitions>(
  Object.values(transitions).flatMap(
    (row) => Object.entries(row) as [MessageName, keyof typeof transitions][],
  ),
);

export function agentTarget(seed: number): Target {
  const sample = <Name extends MessageName>(name: Name): readonly Messages[Name][] =>
    fc.sample(messageBodies[name], { seed, numRuns: corpusSize });
  const corpus = new Map(fromReceiver.map((name) => [name, sample(name)]));
  const asked = new Map((Object.keys(messages) as MessageName[]).map((name) => [name, sample(name)]));
  return {
    name: "the agent's end",
    feed: async (random) => {
      let said = 0;
      const log: string[] = [];
      let data = noData();
      const transport = memoryReceiver((frame) => {
        data = noData();
        const frames = answerTo(random, corpus, frame, data);
        said += frames.length;
        for (const each of frames) log.push(toHex(each.subarray(0, 200)));
        return random.once(4) ? [concatBytes(frames)] : frames;
      });
      const finding = (what: string, cause?: unknown): Finding =>
        new Finding(`the agent's end: ${what} from ${log.join(" ")}`, { cause });
      const service = random.pick(Object.keys(services)) as Service;
      const client = await settled(transport, finding, async () =>
        connect({
          transport,
          service,
          where: { mountpoint: "/mnt", directory: "d", archive: new Uint8Array(16) as ArchiveUuid },
          stallSeconds: 3600,
          signal: new AbortController().signal,
        }),
      );
      if (client === undefined) return Math.max(1, said);
      try {
        for (let requests = 1 + random.below(8); requests > 0; requests--) {
          const request = random.pick(requestsOf[service]);
          const result = await settled(transport, finding, async () =>
            request(client, random, (name) => random.pick(asked.get(name) ?? []) as never),
          );
          if (result instanceof Uint8Array && !data.damaged && !equalBytes(result, concatBytes(data.parts)))
            throw finding(`${toHex(result)} was not said`);
          if (result === undefined) break;
        }
      } finally {
        await client[Symbol.asyncDispose]();
      }
      return Math.max(1, said);
    },
  };
}

/** What a request gives; undefined where it has failed as it may. A receiver that has said everything goes away, so that
 *  nothing is waited for. */
async function settled<T>(
  transport: MemoryReceiver,
  finding: (what: string, cause?: unknown) => Finding,
  request: () => Promise<T>,
): Promise<T | undefined> {
  const state = { over: false };
  const running = request().finally(() => (state.over = true));
  running.catch(() => undefined);
  for (let idle = 0, taken = -1; !state.over;) {
    await new Promise((resolve) => setImmediate(resolve));
    idle = taken === transport.taken() ? idle + 1 : 0;
    taken = transport.taken();
    if (idle === 20) transport.stop();
  }
  try {
    return await running;
  } catch (error) {
    if (error instanceof AgentError || error instanceof RefusedError || error instanceof TransportError)
      return undefined;
    throw finding(String(error), error);
  }
}

/** What an answer's frames of data hold. `damaged`: a frame of it was changed, into other data for all that one knows. */
interface AnswerData {
  readonly parts: Uint8Array[];
  damaged: boolean;
}

const noData = (): AnswerData => ({ parts: [], damaged: false });

const markOf = (address: number): number => Math.floor(address / 65_536) % 251;

/** Frames in answer to one of the agent: legal ones to the end of the request, damaged now and then. */
function answerTo(
  random: Random,
  corpus: ReadonlyMap<MessageName, readonly unknown[]>,
  frame: Frame,
  data: AnswerData,
): Uint8Array[] {
  const frames: Uint8Array[] = frame.type === "agentHello" ? [encodePreamble()] : [];
  let state = stateAfter.get(frame.type) ?? "closed";
  if (frame.type === "goodbye" || frame.type === "chunk") return frames;
  for (let left = 12; left > 0; left--) {
    const legal = (Object.keys(transitions[state]) as MessageName[]).filter(
      (name) => messages[name].from === "receiver",
    );
    if (legal.length === 0) break;
    const ending = legal.find(
      (name) => name === "done" || name === "committed" || name === "assembled" || name === "receiverHello",
    );
    const name = random.once(40)
      ? random.pick(fromReceiver)
      : left === 1 || random.once(3)
        ? (ending ?? random.pick(legal))
        : random.pick(legal);
    let body = random.pick(corpus.get(name) ?? []) as Messages[MessageName];
    if (name === "data") {
      if (random.once(10)) body = { bytes: new Uint8Array(random.below(9000)).fill(left) };
      data.parts.push((body as Messages["data"]).bytes);
    }
    if (name === "stored" && frame.type === "readChunks") {
      const wanted = frame.body.addresses[data.parts.length];
      const address = wanted === undefined || random.once(10) ? (body as Messages["stored"]).address : wanted;
      const bytes = (body as Messages["stored"]).bytes.slice();
      // By this the taker knows whose bytes it got.
      bytes[0] = markOf(address);
      data.parts.push(bytes);
      body = { address, bytes };
    }
    // The count that the agent waits for, mostly.
    if (name === "done" && !random.once(4)) {
      const sum = data.parts.reduce((all, each) => all + each.length, 0);
      const length = frame.type === "put" ? frame.body.length : sum;
      body = { bytes: length } satisfies Messages["done"];
    }
    const bytes = encodeFrame(name, random.once(60) ? random.below(9) : frame.id, body as never);
    const damage = name !== "stored" && random.once(40);
    data.damaged ||= damage;
    frames.push(damage ? mutate(random, bytes, [bytes]) : bytes);
    const next = transitions[state][name];
    if (next === undefined || next === "ready" || next === "session") break;
    state = next;
  }
  return frames;
}

type Request = (
  client: Client,
  random: Random,
  body: <Name extends MessageName>(name: Name) => Messages[Name],
) => Promise<unknown>;

const max = 10_000;
const read: Request = async (client, _, body) => (await client.readWhole(body("readMeta"), max)) ?? true;
const put: Request = async (client, random, body) => {
  const bytes = new Uint8Array(random.below(2000));
  await client.put(body("put").name, bytes.length, new Uint8Array(32) as Digest, [bytes]);
  return true;
};
const commit: Request = async (client, _, body) => client.ask("commit", body("commit"));

/** What each service is asked for. */
const requestsOf: Readonly<Record<Service, readonly Request[]>> = {
  "sparsebak.Send": [
    read,
    put,
    commit,
    async (client) => client.listPending(),
    async (client, _, body) => (await client.ask("discard", body("discard"))) ?? true,
    async (client, _, body) => (await client.salvage(body("salvage"), max, () => undefined, 1000)) ?? true,
    async (client, _, body) => {
      const id = client.nextId;
      await client.ask("beginSession", body("beginSession"));
      await client.sendFrames(encodeFrame("chunk", id, body("chunk")));
      await client.endSession(body("endSession"));
      return true;
    },
  ],
  "sparsebak.Receive": [
    read,
    async (client, random, body) => {
      const { volume, session } = body("readChunks");
      const addresses = Array.from({ length: 1 + random.below(8) }, (_, i) => (i * 65_536) as ChunkAddress);
      const seen: number[] = [];
      await client.readChunks(volume, session, addresses, (address, untrusted) => {
        seen.push(address);
        if (untrusted !== undefined && untrusted[0] !== markOf(address))
          throw new RangeError(`another chunk as that at ${address}`);
        return random.once(3) ? new Promise((resolve) => setImmediate(resolve)) : undefined;
      });
      if (seen.join() !== addresses.join())
        throw new RangeError(`chunks ${seen.join()}, wanted ${addresses.join()}`);
      return true;
    },
    async (client, _, body) =>
      client.scrub(body("scrub").volume, body("scrub").session, {
        chunks: 3,
        bytes: 1000,
        canHave: ({ file }) => file !== "archive",
      }),
    async (client) => client.scrubRest(),
  ],
  "sparsebak.Prune": [read, put, commit, async (client) => client.ask("sweep", {})],
  "sparsebak.Assemble": [
    read,
    async (client, _, body) => client.ask("reveal", body("reveal")),
    async (client, _, body) => client.ask("assemble", body("assemble"), 1_000_000),
  ],
};
