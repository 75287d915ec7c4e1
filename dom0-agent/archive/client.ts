// What the agent asks of a receiver, each request with its answer. Everything in an answer is from the VM and is checked
// against what was asked before anything uses it.

import type { Frame } from "../../protocol/wire/frame.ts";
import {
  type Damage,
  isDamage,
  type Messages,
  type MetaName,
  type Pending,
} from "../../protocol/wire/messages.ts";
import { decodePrefix, noVolume } from "../../protocol/archive/prefix.ts";
import type { ChunkAddress, Digest, SessionUid, VolumeId } from "../../protocol/archive/types.ts";
import { FormatError, InternalError } from "../../protocol/errors.ts";
import { AgentError } from "../errors.ts";
import type { Work } from "./credible-progress.ts";
import { type AgentDialogue, type ConnectOptions, openDialogue } from "./dialogue.ts";
import { RefusedError } from "./refused-error.ts";

/** Where a stream of bytes that was asked for goes. Called with views that do not outlive the call. */
export type DataSink = (bytes: Uint8Array) => void;

/** Takes one chunk's stored form, which is good only until the promise resolves; undefined: the container does not have
 *  it. While the promise is open nothing more is read from the receiver: that is what bounds a restore's memory. */
export type ChunkSink = (
  address: ChunkAddress,
  untrusted: Uint8Array | undefined,
) => Promise<void> | undefined;

/** What of the dialogue is its client's as it is. */
type Shared = "hello" | "connection" | "sentBytes" | "onProgress" | "nextId" | "sendFrames" | "close";

export interface Client extends Pick<AgentDialogue, Shared>, AsyncDisposable {
  /** Refuse to put an index, header or manifest that is not sealed: set once a sealed archive is open. */
  sealedOnly: boolean;
  /** Hears why a head or an index can't be used, where its second copy is used in its place. */
  onCopyUsed: ((why: string) => void) | undefined;
  /** Reads a file of the archive into `sink`, at most `max` bytes; gives its length, undefined when it's missing. */
  read(name: MetaName, max: number, sink: DataSink): Promise<number | undefined>;
  /** The same for a file that fits in memory. */
  readWhole(name: MetaName, max: number): Promise<Uint8Array | undefined>;
  /** Reads stored forms out of the container of `session`: `sink` is called once for each of `addresses`, which rise,
   *  at most maxReadChunks of them, in their order. What `sink` rejects with ends the connection. */
  readChunks(
    volume: VolumeId,
    session: SessionUid,
    addresses: readonly ChunkAddress[],
    sink: ChunkSink,
  ): Promise<void>;
  /** Has the receiver read a whole container against its list, and gives what it says is wrong there: its word, which
   *  proves nothing. Where that is too much with what was found before, the rest of the damages are one of `other`, as the
   *  receiver itself has it, and what is no damage is left out. Throws RefusedError `missing` where it has no such container. */
  scrub(volume: VolumeId, session: SessionUid, known: Scrubbed): Promise<readonly Damage[]>;
  /** The same for all of the archive that is in no container of its newest head. */
  scrubRest(): Promise<readonly Damage[]>;
  listPending(): Promise<readonly Pending[]>;
  /** Has a container made of an uncommitted session; its list goes into `sink`, at most `max` bytes. Gives its length,
   *  undefined where nothing of the session is usable. `about`: bytes that it can have stored, at most. */
  salvage(body: Messages["salvage"], max: number, sink: DataSink, about: number): Promise<number | undefined>;
  /** Sends a request that is answered by one frame, and gives that frame's body. `about`: bytes that it makes the
   *  receiver work on, where that is more than what it is sent; its progress counts up to them. */
  ask<Name extends Opener>(type: Name, body: Messages[Name], about?: number): Promise<Messages[Answer<Name>]>;
  /** Uploads a file: `length` bytes that `parts` gives, which end with `digest`. */
  put(name: MetaName, length: number, digest: Digest, parts: Iterable<Uint8Array>): Promise<void>;
  endSession(body: Messages["endSession"]): Promise<void>;
}

/** What is known of a container that is scrubbed: it holds `chunks` chunks in `bytes` stored bytes, and `canHave` tells
 *  what can be said of it from what only a liar says. */
export interface Scrubbed {
  readonly chunks: number;
  readonly bytes: number;
  readonly canHave: (damage: Damage) => boolean;
}

type Opener = "discard" | "beginSession" | "commit" | "assemble" | "sweep" | "reveal";
type Answer<Name extends Opener> = Name extends "commit"
  ? "committed"
  : Name extends "assemble"
    ? "assembled"
    : "done";

/** Most uncommitted sessions that a receiver may list. */
const maxPending = 4096;
/** What makes a receiver deal with bytes that nobody here knows the number of: all that is dead and due, and all that a
 *  session has left, each name of it looked at and each file removed. */
const unknownWork: ReadonlySet<Opener> = new Set<Opener>(["sweep", "discard"]);
/** Bytes behind the most that a file may have that are taken, and dropped, before the answer counts as one without end. */
const foreignBytes = 64 * 1024 * 1024;
/** Most things that it may find wrong with one container, and most that are kept of all that a connection finds wrong. */
const maxDamages = 65_536;
/** Bytes that scrubbing reads for each chunk besides the chunk itself: its record in the list, its header in a tar. */
const scrubOverhead = 2048;

/** Opens a service and greets it. Throws TransportError, RefusedError, or AgentError where the protocol is broken. */
export async function connect(options: ConnectOptions): Promise<Client> {
  const dialogue = await openDialogue(options);
  const { name, request } = dialogue;
  let damagesKept = 0;

  const checkDone = (what: string, frame: Frame, wanted: number): void => {
    if (frame.type !== "done") throw new InternalError(`${what}: answered by ${frame.type}`);
    if (frame.body.bytes === wanted) return;
    throw new AgentError(
      "failed",
      `${name}: broke the protocol: ${what}: ${frame.body.bytes} bytes in its answer, wanted ${wanted}`,
    );
  };

  /** A request that is answered by bytes; undefined where it is refused as missing. */
  const download = async <Name extends "readMeta" | "salvage">(
    type: Name,
    body: Messages[Name],
    what: string,
    max: number,
    sink: DataSink,
    about = max,
  ): Promise<number | undefined> => {
    let length = 0;
    const onData = (frame: Frame): void => {
      if (frame.type !== "data") throw new FormatError("bad-order", `${frame.type} in an answer to ${type}`);
      // An empty one gets nobody on, and so there could be any number of them.
      if (frame.body.bytes.length === 0) throw new FormatError("bad-value", `${what}: no data`);
      length += frame.body.bytes.length;
      if (length > max + foreignBytes) throw new FormatError("too-long", `${what}: more than ${max} bytes`);
      if (length <= max) sink(frame.body.bytes);
    };
    try {
      checkDone(what, await request(type, body, "done", onData, about), length);
      // Another file may lie in its place, which is damage of the drive and no lie of the receiver.
      if (length > max)
        throw new AgentError("integrity", `${what}: found ${length} bytes, wanted at most ${max}`);
      return length;
    } catch (error) {
      if (error instanceof RefusedError && error.code === "missing") return undefined;
      throw error;
    }
  };

  const scrub = async (
    of: Messages["scrub"],
    about: Work,
    canHave: (damage: Damage) => boolean,
  ): Promise<readonly Damage[]> => {
    const found: Damage[] = [];
    let count = 0;
    let isMore = false;
    const onDamage = (frame: Frame): void => {
      if (frame.type !== "damage") throw new FormatError("bad-order", `${frame.type} in an answer to scrub`);
      if (count++ === maxDamages)
        throw new FormatError("too-long", `more than ${maxDamages} damages of one scrub`);
      const { what, file, number } = frame.body;
      if (!canHave(frame.body))
        throw new FormatError(
          "bad-value",
          `damage: ${what} ${file} ${number}, which this container can't have`,
        );
      if (damagesKept < maxDamages) {
        damagesKept++;
        found.push(frame.body);
      } else if (isDamage(frame.body) && !isMore) {
        isMore = true;
        found.push({ ...frame.body, file: "other", what: "corrupt", number: 0 });
      }
    };
    await request("scrub", of, "done", onDamage, about);
    return found;
  };

  /** Gives `parts`, the first only once it is known to be one that may be shown. */
  function* checkedParts(metaName: MetaName, parts: Iterable<Uint8Array>): Generator<Uint8Array> {
    let start = true;
    for (const part of parts) {
      if (start && client.sealedOnly) checkSealed(metaName, part);
      start = false;
      yield part;
    }
  }

  const client: Client = {
    sealedOnly: false,
    onCopyUsed: undefined,
    hello: dialogue.hello,
    connection: dialogue.connection,
    get sentBytes() {
      return dialogue.sentBytes;
    },
    get onProgress() {
      return dialogue.onProgress;
    },
    set onProgress(listener) {
      dialogue.onProgress = listener;
    },
    get nextId() {
      return dialogue.nextId;
    },
    read: async (metaName, max, sink) => download("readMeta", metaName, `read ${metaName.kind}`, max, sink),
    salvage: async (body, max, sink, about) => download("salvage", body, "salvage", max, sink, max + about),
    readWhole: async (metaName, max) => {
      // One buffer that grows: the pieces may be as small as a receiver likes.
      let whole = new Uint8Array(Math.min(max, 64 * 1024));
      let held = 0;
      const length = await client.read(metaName, max, (bytes) => {
        if (held + bytes.length > whole.length) {
          const larger = new Uint8Array(Math.min(max, Math.max(2 * whole.length, held + bytes.length)));
          larger.set(whole.subarray(0, held));
          whole = larger;
        }
        whole.set(bytes, held);
        held += bytes.length;
      });
      return length === undefined ? undefined : whole.slice(0, length);
    },
    readChunks: async (volume, session, addresses, sink) => {
      let next = 0;
      let length = 0;
      const done = await request("readChunks", { volume, session, addresses }, "done", (frame) => {
        if (frame.type !== "stored")
          throw new FormatError("bad-order", `${frame.type} in an answer to readChunks`);
        const wanted = addresses[next++];
        const { address, bytes } = frame.body;
        if (address !== wanted) {
          throw new FormatError("bad-order", `a chunk at ${address}, wanted ${wanted ?? "no more of them"}`);
        }
        length += bytes.length;
        return sink(wanted, bytes.length === 0 ? undefined : bytes);
      });
      checkDone("readChunks", done, length);
      if (next !== addresses.length) {
        throw new AgentError(
          "failed",
          `${name}: broke the protocol: ${next} chunks came, ${addresses.length} were asked for`,
        );
      }
    },
    scrub: async (volume, session, { chunks, bytes, canHave }) =>
      scrub({ volume, session }, bytes + (chunks + maxDamages) * scrubOverhead, canHave),
    scrubRest: async () =>
      scrub({ volume: noVolume, session: new Uint8Array(16) as SessionUid }, "unknown", () => true),
    listPending: async () => {
      const found: Pending[] = [];
      const done = await request("listPending", {}, "done", (frame) => {
        if (frame.type !== "pending")
          throw new FormatError("bad-order", `${frame.type} in an answer to listPending`);
        if (found.length === maxPending)
          throw new FormatError("too-long", `more than ${maxPending} unfinished sessions`);
        found.push(frame.body);
      });
      checkDone("listPending", done, 0);
      return found;
    },
    ask: async (type, body, known = 0) => {
      const answer = type === "commit" ? "committed" : type === "assemble" ? "assembled" : "done";
      const about = unknownWork.has(type) ? "unknown" : known;
      const frame = await request(type, body, answer, undefined, about);
      // A sweep says how many bytes came free.
      if (frame.type === "done" && type !== "sweep") checkDone(type, frame, 0);
      return frame.body as Messages[Answer<typeof type>];
    },
    put: async (metaName, length, digest, parts) => {
      const what = `put ${metaName.kind}`;
      const body = { name: metaName, length, digest };
      checkDone(what, await dialogue.upload(what, body, checkedParts(metaName, parts)), length);
    },
    sendFrames: dialogue.sendFrames,
    endSession: async (body) => checkDone("endSession", await dialogue.endSession(body), 0),
    close: dialogue.close,
    [Symbol.asyncDispose]: async () => dialogue[Symbol.asyncDispose](),
  };
  return client;
}

/** A bug anywhere above must not show what a sealed archive hides. `start` holds at least the file's prefix. */
function checkSealed({ kind }: MetaName, start: Uint8Array): void {
  if (kind !== "index" && kind !== "header" && kind !== "manifest") return;
  if (decodePrefix(start).protection !== "sealed")
    throw new InternalError(`put ${kind}: not sealed, in a sealed archive`);
}
