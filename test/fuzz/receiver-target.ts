// The receiver's end of the dialogue, run for real: serveConnection on an archive in a directory, which hears frames that are
// mostly legal and mostly about what is there. What it says is legal by the same table, whatever it heard; what
// breaks the rules ends the call; nothing is a bug by its own word; and no committed file changes.

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { decodeHead } from "../../protocol/archive/head.ts";
import { concatBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { encodeFrame, encodePreamble, frameDecoder, frameHeaderBytes } from "../../protocol/wire/frame.ts";
import {
  type MessageName,
  type Messages,
  messages,
  type Service,
  services,
} from "../../protocol/wire/messages.ts";
import { dialogue, transitions } from "../../protocol/wire/states.ts";
import { serveConnection } from "../../vm-receiver/service/connection.ts";
import { createTestArchive } from "../support/archive-writer.ts";
import { tempDir } from "../support/temp-dir.ts";
import { messageBodies } from "../protocol/arbitraries.ts";
import { mutate } from "./mutate.ts";
import type { Random } from "./random.ts";
import { Finding, type Target } from "./target.ts";

const corpusSize = 40;
/** Connections after which the archive's files are looked at, and it is made anew. */
const lifeOfArchive = 100;
const fromAgent = (Object.keys(messages) as MessageName[]).filter((name) => messages[name].from === "agent");

export function receiverTarget(seed: number): Target {
  const corpus = new Map(
    fromAgent.map((name) => [
      name,
      fc.sample(messageBodies[name] as fc.Arbitrary<object>, { seed, numRuns: corpusSize }),
    ]),
  );
  let place: Place | undefined;
  let lived = 0;
  return {
    name: "the receiver's end",
    slow: true,
    feed: async (random) => {
      place ??= makePlace();
      const said = await call(random, place, corpus);
      if (++lived % lifeOfArchive === 0) place.renew();
      return said;
    },
    end: () => {
      place?.renew();
      place?.end();
      place = undefined;
    },
  };
}

interface Place {
  readonly mountpoint: string;
  /** Values that mean something here, by the names of fields. */
  readonly known: Readonly<Record<string, readonly unknown[]>>;
  /** Holds the archive's committed files to what they were, and puts away what was added. Throws Finding. */
  renew(): void;
  end(): void;
}

function makePlace(): Place {
  const directory = tempDir();
  const mountpoint = join(directory.path, "drive");
  mkdirSync(mountpoint);
  const source = createTestArchive(join(directory.path, "source"));
  const image = new Uint8Array(8 * 65_536).map((_, i) => (i >> 16) * 37);
  const sessions = (["dir", "tar"] as const).flatMap((form, i) => {
    image.fill(i + 1, 65_536, 65_600);
    return Object.values(source.send({ work: image }, { form }));
  });
  const { generation } = source;
  const head = readFileSync(join(source.path, "heads", String(generation)));
  const volumes = decodeHead(new Uint8Array(head)).volumes;
  const archive = join(mountpoint, "backups");
  const fresh = (): void => {
    rmSync(archive, { recursive: true, force: true });
    cpSync(source.path, archive, { recursive: true });
  };
  fresh();
  const committed = digestsOf(source.path);
  const volume = volumes.map((each) => each.volume);
  const uids = sessions.map((each) => each.uid);
  const digest = new Uint8Array(head.subarray(-32));
  return {
    mountpoint,
    known: {
      volume,
      session: [...uids, new Uint8Array(16).fill(9)],
      directory: [...volumes.map((each) => each.directory), "another"],
      generation: [generation, generation + 1],
      base: [generation],
      baseDigest: [digest],
      addresses: [[0, 65_536, 131_072]],
      chunkSize: [65_536],
      size: [8 * 65_536],
      length: [100],
    },
    renew: () => {
      const now = digestsOf(archive);
      for (const [path, wanted] of Object.entries(committed)) {
        if (now[path] !== wanted)
          throw new Finding(`the receiver's end: ${path} is no more what was committed`);
      }
      fresh();
    },
    end: () => directory[Symbol.dispose](),
  };
}

function digestsOf(path: string): Record<string, string> {
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  return Object.fromEntries(
    files.map((each) => {
      const file = join(each.parentPath, each.name);
      return [file.slice(path.length), createHash("sha256").update(readFileSync(file)).digest("hex")];
    }),
  );
}

/** One call; gives how many frames were said. */
async function call(
  random: Random,
  place: Place,
  corpus: ReadonlyMap<MessageName, readonly object[]>,
): Promise<number> {
  const service = random.pick(Object.keys(services)) as Service;
  const order = dialogue(service);
  const heard = frameDecoder("receiver");
  const trace: string[] = [];
  const broken = (what: string): Finding => new Finding(`the receiver's end: ${what}; ${trace.join(", ")}`);
  const state: { wrong: Finding | undefined; over: boolean } = { wrong: undefined, over: false };
  let wake = (): void => undefined;

  const take = (bytes: Uint8Array): void => {
    try {
      for (const frame of heard.push(bytes.slice())) {
        trace.push(`« ${frame.type}`);
        order.step(frame.type, frame.id);
        if ((frame.type === "refused" || frame.type === "aborted") && frame.body.code === "internal")
          state.wrong ??= broken("it says that it has a bug");
      }
    } catch (error) {
      state.wrong ??= broken(String(error));
    }
    wake();
  };
  const connection = serveConnection({
    service,
    admission: {
      admitted: true,
      settings: {
        allowCallers: ["dom0"],
        mountpoints: [],
        plainDirectories: [place.mountpoint],
        services: [service],
        requireServiceFlag: false,
        trashDays: undefined,
      },
    },
    output: { write: async (bytes) => take(bytes), backlog: 0, end: async () => undefined },
    log: (line) => trace.push(line),
  });
  void connection.finished.then(() => {
    state.over = true;
    wake();
  });

  /** Until it is the agent's turn, or the call is over. */
  const turn = async (): Promise<void> => {
    while (!state.over && state.wrong === undefined && order.state !== "closed" && !agentsTurn(order.state))
      await new Promise<void>((resolve) => (wake = resolve));
  };
  let id = 0;
  let sessionId = 0;
  let putId = 0;
  let said = 0;
  connection.take(encodePreamble());
  for (let steps = 1 + random.below(25); steps > 0 && !state.over; steps--) {
    const legal = (Object.keys(transitions[order.state]) as MessageName[]).filter(
      (name) => messages[name].from === "agent",
    );
    const name = legal.length === 0 || random.once(15) ? random.pick(fromAgent) : random.pick(legal);
    if (name === "goodbye" && !random.once(4)) continue;
    const opens = !["part", "chunk", "endSession"].includes(name);
    if (opens) id++;
    if (name === "beginSession") sessionId = id;
    if (name === "put") putId = id;
    const own = opens ? id : name === "part" ? putId : sessionId;
    const body = bodyFor(random, place, service, name, random.pick(corpus.get(name) ?? [{}]));
    const frame = encodeFrame(name, random.once(30) ? random.below(5) : own, body as never);
    const bytes = random.once(15) ? mutate(random, frame, [frame]) : frame;
    trace.push(`» ${name} ${toHex(bytes.subarray(0, 400))}`);
    said++;
    const legalNow = stepped(order, service, bytes);
    connection.take(bytes);
    // What it does not take ends the call, by its own word if there was a hello.
    if (legalNow === "broken") break;
    if (legalNow === "half") break;
    if (!random.once(20)) await turn();
  }
  if (random.once(2)) connection.lost();
  else connection.stop(143);
  await connection.finished;
  if (state.wrong !== undefined) throw state.wrong;
  return Math.max(1, said);
}

function agentsTurn(state: keyof typeof transitions): boolean {
  return (Object.keys(transitions[state]) as MessageName[]).some((name) => messages[name].from === "agent");
}

/** What an agent's bytes are in this state: frames that are taken (and the observer goes on), something that breaks the
 *  rules, or the beginning of a frame. */
function stepped(
  order: ReturnType<typeof dialogue>,
  _service: Service,
  bytes: Uint8Array,
): "legal" | "broken" | "half" {
  const decoder = frameDecoder("agent");
  let frames = 0;
  try {
    for (const frame of decoder.push(concatBytes([encodePreamble(), bytes]))) {
      order.step(frame.type, frame.id);
      frames++;
    }
    // Behind a whole frame the beginning of another one may stand.
    const length = frames === 1 ? frameHeaderBytes + Buffer.from(bytes).readUInt32BE(8) : 0;
    return bytes.length === length ? "legal" : "half";
  } catch (error) {
    if (error instanceof FormatError) return "broken";
    throw error;
  }
}

/** A body of which most fields mean something here. */
function bodyFor(random: Random, place: Place, service: Service, name: MessageName, body: object): object {
  if (name === "agentHello" && !random.once(10))
    return {
      ...body,
      service,
      mountpoint: place.mountpoint,
      directory: random.once(8) ? "elsewhere" : "backups",
    };
  const put = name === "put" ? (body as Messages["put"]) : undefined;
  const changed: Record<string, unknown> = { ...body };
  for (const [field, values] of Object.entries(place.known)) {
    if (field in changed && !random.once(6)) changed[field] = random.pick(values);
  }
  if (put !== undefined) changed["name"] = bodyFor(random, place, service, "readMeta", put.name);
  if (name === "readMeta") {
    const { kind } = changed as unknown as Messages["readMeta"];
    // The fields that a kind does not have are zeros.
    const ofArchive = ["archive", "head", "dead", "headCopy"].includes(kind);
    if (ofArchive) changed["volume"] = new Uint8Array(16);
    if (ofArchive || kind === "index" || kind === "indexCopy") changed["session"] = new Uint8Array(16);
    if (kind === "header") changed["generation"] = 0;
  }
  if (name === "chunk") {
    const { bytes } = changed as unknown as Messages["chunk"];
    changed["address"] = random.below(8) * 65_536;
    if (!random.once(8)) changed["checksum"] = new Uint8Array(createHash("sha256").update(bytes).digest());
  }
  if (name === "part" && !random.once(4)) changed["bytes"] = new Uint8Array(100);
  // Without a session that is there nothing is built: starting spbk-assemble is not what is fuzzed.
  if (name === "assemble") changed["session"] = new Uint8Array(16).fill(9);
  return changed;
}
