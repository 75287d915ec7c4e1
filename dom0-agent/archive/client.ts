// The agent's end of the dialogue: one request at a time, answers checked against the table of legal order, waits
// bounded. Everything that comes in is from the VM and is bounded, typed and checked before anything uses it.

import {
  encodeFrame,
  encodePreamble,
  type Frame,
  frameDecoder,
  frameHeaderBytes,
  maxNoiseBytes,
  writeFrameHeader,
} from "../../protocol/wire/frame.ts";
import {
  type AgentHello,
  type Damage,
  type MessageName,
  type Messages,
  type MetaName,
  type Pending,
  type ReceiverHello,
  type Refusal,
  type Service,
} from "../../protocol/wire/messages.ts";
import { dialogue } from "../../protocol/wire/states.ts";
import { decodePrefix, noVolume } from "../../protocol/archive/prefix.ts";
import {
  type ChunkAddress,
  type Digest,
  maxVolumeSize,
  type SessionUid,
  type VolumeId,
} from "../../protocol/archive/types.ts";
import { FormatError, InternalError } from "../../protocol/errors.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import { utf8 } from "../../protocol/wire/writer.ts";
import { connectionLost } from "../transport/child-connection.ts";
import { printable } from "../transport/printable.ts";
import { type Connection, type Transport, TransportError } from "../transport/transport.ts";
import { type StallWatch, stallWatch } from "../transport/watch.ts";

/** The receiver refused a request, or gave the connection up. */
export class RefusedError extends AgentError {
  override readonly name: string = "RefusedError";
  readonly code: Refusal;

  /** `who`: the receiver. Refused in answer to the hello, not-allowed is a matter of its settings. */
  constructor(who: string, code: Refusal, untrustedReason: string, inAnswerTo?: MessageName) {
    const hint = code === "not-allowed" && inAnswerTo !== "agentHello" ? undefined : hints[code];
    super(refusalReasons[code], `${who}: ${code}: ${printable(utf8(untrustedReason))}`, hint);
    this.code = code;
  }
}

/** Which exit status a refusal is. */
const refusalReasons: Readonly<Record<Refusal, ExitReason>> = {
  "not-mounted": "destination",
  "read-only": "destination",
  "no-space": "destination",
  "no-inodes": "destination",
  "not-allowed": "destination",
  busy: "locked",
  stale: "integrity",
  exists: "failed",
  missing: "failed",
  malformed: "failed",
  corrupt: "integrity",
  unsupported: "failed",
  io: "failed",
  stalled: "destination",
  stopped: "destination",
  internal: "failed",
};

const hints: Partial<Record<Refusal, string>> = {
  "not-mounted": "attach and mount the backup drive in the destination, then run the command again",
  "read-only": "mount the destination writable",
  "no-space": "make room in the destination; nothing that was committed is lost",
  "no-inodes": "use --tarfile, which needs one file a session, or another file system",
  "not-allowed": "see receiver.ini in the destination",
  busy: "wait until the other run has ended",
};

/** Where a stream of bytes that was asked for goes. Called with views that do not outlive the call. */
export type DataSink = (bytes: Uint8Array) => void;

/** Takes one chunk's stored form, which is good only until the promise resolves; undefined: the container does not have
 *  it. While the promise is open nothing more is read from the receiver: that is what bounds a restore's memory. */
export type ChunkSink = (
  address: ChunkAddress,
  untrusted: Uint8Array | undefined,
) => Promise<void> | undefined;

export interface Client extends AsyncDisposable {
  readonly hello: ReceiverHello;
  readonly connection: Connection;
  /** Bytes that have been written to the receiver. */
  readonly sentBytes: number;
  /** Refuse to put an index, header or manifest that is not sealed: set once a sealed archive is open. */
  sealedOnly: boolean;
  /** Hears why a head or an index can't be used, where its second copy is used in its place. */
  onCopyUsed: ((why: string) => void) | undefined;
  /** What the receiver says of the session that is being sent: bytes and chunks that it has dealt with. */
  onProgress: ((bytes: number, chunks: number) => void) | undefined;
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
   *  proves nothing. It holds `chunks` chunks in `bytes` stored bytes. Throws RefusedError `missing` where it has no
   *  such container. */
  scrub(
    volume: VolumeId,
    session: SessionUid,
    holds: { readonly chunks: number; readonly bytes: number },
  ): Promise<readonly Damage[]>;
  /** The same for all of the archive that is in no container of its newest head. */
  scrubRest(): Promise<readonly Damage[]>;
  listPending(): Promise<readonly Pending[]>;
  /** Has a container made of an uncommitted session; its list goes into `sink`, at most `max` bytes. Gives its length,
   *  undefined where nothing of the session is usable. `about`: bytes that it can have stored, at most. */
  salvage(body: Messages["salvage"], max: number, sink: DataSink, about: number): Promise<number | undefined>;
  /** Sends a request that is answered by one frame, and gives that frame's body. `about`: bytes that it makes the
   *  receiver work on, where that is more than what it is sent; its progress counts up to them. */
  ask<Name extends Opener>(type: Name, body: Messages[Name], about?: number): Promise<Messages[Answer<Name>]>;
  /** The id that the next request will have: frames of a session carry the id of its beginSession. */
  readonly nextId: number;
  /** Uploads a file: `length` bytes that `parts` gives, which end with `digest`. */
  put(name: MetaName, length: number, digest: Digest, parts: Iterable<Uint8Array>): Promise<void>;
  /** Hands frames of the session, laid out by the pipeline, to the pipe; resolves when the buffer is free again. */
  sendFrames(frames: Uint8Array): Promise<void>;
  endSession(body: Messages["endSession"]): Promise<void>;
  /** Says goodbye and waits for the other side's end. */
  close(): Promise<void>;
}

type Opener = "discard" | "beginSession" | "commit" | "assemble" | "sweep" | "reveal";
type Answer<Name extends Opener> = Name extends "commit"
  ? "committed"
  : Name extends "assemble"
    ? "assembled"
    : "done";

export interface ConnectOptions {
  readonly transport: Transport;
  readonly service: Service;
  readonly where: Omit<AgentHello, "service">;
  readonly stallSeconds: number;
  readonly signal: AbortSignal;
}

/** Bytes of a file that are put at once, all from one buffer: a manifest may be hundreds of megabytes. */
const partBytes = 256 * 1024;
/** Most uncommitted sessions that a receiver may list. */
const maxPending = 4096;
/** Bytes, of what a request is about, that a receiver must get on for it to count as progress. */
const progressBytes = 64 * 1024;
/** What makes a receiver deal with bytes that nobody here knows the number of: all that is dead and due, and all that a
 *  session has left, each name of it looked at and each file removed. */
const unknownWork: ReadonlySet<Opener> = new Set<Opener>(["sweep", "discard"]);
/** Where the number is not known, the share of what a receiver says it has dealt with that it must get on by. Numbers
 *  that only grow so come to an end: behind some 18 000 waits, with mostOfUnknown. */
const unknownShare = 1 / 1024;
/** Bytes of such work that are believed, at most. */
const mostOfUnknown = 2 * maxVolumeSize;
/** Bytes behind the most that a file may have that are taken, and dropped, before the answer counts as one without end. */
const foreignBytes = 64 * 1024 * 1024;
/** Milliseconds in which a receiver that has answered everything may leave by itself. */
const leaveMs = 5000;
/** Most things that it may find wrong with one container. */
const maxDamages = 65_536;
/** Bytes that scrubbing reads for each chunk besides the chunk itself: its record in the list, its header in a tar. */
const scrubOverhead = 2048;

interface Waiting {
  readonly opener: MessageName;
  readonly what: string;
  readonly answer: MessageName;
  readonly resolve: (frame: Frame) => void;
  readonly reject: (error: Error) => void;
  readonly onFrame?: OnFrame;
  /** Bytes that the request makes the receiver work on, apart from what it is sent. */
  readonly about: Work;
}

type Work = number | "unknown";

/** Takes a frame of an answer that has several. What it resolves is waited for before more is read. */
type OnFrame = (frame: Frame) => Promise<void> | undefined | void;

/** Opens a service and greets it. Throws TransportError, RefusedError, or AgentError where the protocol is broken. */
export async function connect(options: ConnectOptions): Promise<Client> {
  const { transport, service, signal } = options;
  const connection = await transport.open(service, signal);
  const order = dialogue(service);
  const decoder = frameDecoder("receiver", maxNoiseBytes);
  const name = transport.name;
  let lastId = 0;
  let sessionId = 0;
  // Of the open request: bytes that its answer has brought, and steps that its numbers have come to.
  let answerBytes = 0;
  let claimedSteps = 0;
  let sentBytes = 0;
  let waiting: Waiting | undefined;
  let failure: Error | undefined;
  let onProgress: Client["onProgress"];

  const fail = (error: Error): void => {
    failure ??= error;
    waiting?.reject(failure);
    waiting = undefined;
    connection.abort(failure);
  };
  const watch: StallWatch = stallWatch({ seconds: options.stallSeconds, what: name, onStall: fail });

  /** Steps of progress that a number comes to. Nobody gets on with more than was sent, or than the request is about;
   *  where that is not known, a step is ever more bytes: numbers that only grow keep no connection. */
  const credible = (untrustedBytes: number): number => {
    const about = waiting?.about ?? 0;
    const sure = about === "unknown" ? Math.max(sentBytes, progressBytes / unknownShare) : sentBytes + about;
    if (about !== "unknown" || untrustedBytes <= sure)
      return Math.floor(Math.min(untrustedBytes, sure) / progressBytes);
    const times = Math.min(untrustedBytes, mostOfUnknown) / sure;
    return Math.floor(sure / progressBytes + Math.log(times) / unknownShare);
  };
  /** Bytes of answers count besides: they are held to what was asked for as they come. An empty answer brings nothing. */
  const getOn = (): void => watch.progress(claimedSteps + Math.floor(answerBytes / progressBytes));

  const handle = (frame: Frame): Promise<void> | undefined | void => {
    order.step(frame.type, frame.id);
    if (frame.type === "aborted") {
      fail(new RefusedError(name, frame.body.code, frame.body.reason));
      return;
    }
    if (frame.type === "progress") {
      claimedSteps = Math.max(claimedSteps, credible(frame.body.bytes + frame.body.chunks));
      getOn();
      onProgress?.(frame.body.bytes, frame.body.chunks);
      return;
    }
    if (frame.type === "checkpoint") return;
    const request = waiting;
    if (request === undefined) throw new FormatError("bad-order", `${frame.type} without a request`);
    if (frame.type === "refused") {
      waiting = undefined;
      request.reject(new RefusedError(name, frame.body.code, frame.body.reason, request.opener));
    } else if (frame.type === request.answer) {
      waiting = undefined;
      request.resolve(copied(frame));
    } else if (request.onFrame) {
      if (frame.type === "data" || frame.type === "stored") answerBytes += frame.body.bytes.length;
      getOn();
      return request.onFrame(frame);
    } else throw new FormatError("bad-order", `${frame.type} is no answer to ${request.what}`);
  };

  const pump = async (): Promise<void> => {
    let ended = false;
    try {
      for await (const bytes of connection.incoming) {
        for (const frame of decoder.push(bytes)) {
          const taken = handle(frame);
          if (taken !== undefined) await taken;
        }
      }
      ended = true;
      decoder.end();
      if (order.state !== "closed") throw new FormatError("truncated", "it ended without an answer");
    } catch (error) {
      fail(await explain(error, ended, connection, name));
    }
  };

  const say = async <Name extends MessageName>(
    type: Name,
    id: number,
    body: Messages[Name],
  ): Promise<void> => {
    if (failure) throw failure;
    order.step(type, id);
    await write(encodeFrame(type, id, body));
  };
  /** With `flush`, resolves when the bytes may be overwritten. */
  const write = async (bytes: Uint8Array, flush = false): Promise<void> => {
    try {
      await watch.waitFor(connection.write(bytes));
      if (flush) await watch.waitFor(connection.flushed());
      sentBytes += bytes.length;
    } catch (error) {
      // What the receiver said before its end explains more than the broken pipe does.
      await Promise.race([pumping, afterGrace()]);
      connection.abort();
      await pumping;
      throw failure ?? error;
    }
  };
  const answered = (
    opener: MessageName,
    answer: MessageName,
    onFrame?: OnFrame,
    about: Work = 0,
    what: string = opener,
  ): Promise<Frame> => {
    if (waiting) throw new InternalError(`${what}: another request is open`);
    if (failure) return Promise.reject(failure);
    watch.restart();
    answerBytes = 0;
    claimedSteps = 0;
    return watch.waitFor(
      new Promise<Frame>((resolve, reject) => {
        waiting = {
          opener,
          what,
          answer,
          about,
          resolve,
          reject,
          ...(onFrame === undefined ? {} : { onFrame }),
        };
      }),
    );
  };
  const request = async <Name extends MessageName>(
    type: Name,
    body: Messages[Name],
    answer: MessageName,
    onFrame?: OnFrame,
    about: Work = 0,
  ): Promise<Frame> => {
    const id = ++lastId;
    const frame = answered(type, answer, onFrame, about);
    frame.catch(() => undefined);
    try {
      await say(type, id, body);
    } catch (error) {
      waiting = undefined;
      throw error;
    }
    return frame;
  };

  const pumping = pump();
  const onAbort = (): void =>
    fail(signal.reason instanceof Error ? signal.reason : new AgentError("failed", "stopped"));
  signal.addEventListener("abort", onAbort, { once: true });

  const dispose = async (): Promise<void> => {
    signal.removeEventListener("abort", onAbort);
    watch[Symbol.dispose]();
    connection.abort();
    await connection.ended;
    await pumping;
  };

  const checkDone = (what: string, frame: Frame, wanted: number): void => {
    if (frame.type !== "done") throw new InternalError(`${what}: answered by ${frame.type}`);
    if (frame.body.bytes === wanted) return;
    throw new AgentError(
      "failed",
      `${name}: broke the protocol: ${what}: ${frame.body.bytes} bytes in its answer, wanted ${wanted}`,
    );
  };

  let hello: ReceiverHello;
  try {
    await write(encodePreamble());
    const frame = await request("agentHello", { service, ...options.where }, "receiverHello");
    if (frame.type !== "receiverHello") throw new InternalError("hello");
    hello = frame.body;
  } catch (error) {
    await dispose();
    throw error;
  }

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

  const scrub = async (of: Messages["scrub"], about: Work): Promise<readonly Damage[]> => {
    const found: Damage[] = [];
    const onDamage = (frame: Frame): void => {
      if (frame.type !== "damage") throw new FormatError("bad-order", `${frame.type} in an answer to scrub`);
      if (found.length === maxDamages)
        throw new FormatError("too-long", `more than ${maxDamages} damages of one scrub`);
      found.push(frame.body);
    };
    await request("scrub", of, "done", onDamage, about);
    return found;
  };

  const client: Client = {
    sealedOnly: false,
    onCopyUsed: undefined,
    hello,
    connection,
    get sentBytes() {
      return sentBytes;
    },
    get onProgress() {
      return onProgress;
    },
    set onProgress(listener) {
      onProgress = listener;
    },
    get nextId() {
      return lastId + 1;
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
    scrub: async (volume, session, { chunks, bytes }) =>
      scrub({ volume, session }, bytes + (chunks + maxDamages) * scrubOverhead),
    scrubRest: async () => scrub({ volume: noVolume, session: new Uint8Array(16) as SessionUid }, "unknown"),
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
      if (type === "beginSession") sessionId = lastId;
      return frame.body as Messages[Answer<typeof type>];
    },
    put: async (metaName, length, digest, parts) => {
      const id = ++lastId;
      const frame = answered("put", "done", undefined, 0, `put ${metaName.kind}`);
      frame.catch(() => undefined);
      await say("put", id, { name: metaName, length, digest });
      let start = true;
      const room = new Uint8Array(frameHeaderBytes + Math.min(length, partBytes));
      for (const part of parts) {
        if (start && client.sealedOnly) checkSealed(metaName, part);
        start = false;
        for (let at = 0; at < part.length; at += partBytes) {
          // Answered before it has all come: refused, then, or a lie.
          if (waiting === undefined) {
            await frame;
            throw new AgentError(
              "failed",
              `${name}: broke the protocol: put ${metaName.kind}: done too early`,
            );
          }
          if (failure) throw failure;
          order.step("part", id);
          const piece = part.subarray(at, at + partBytes);
          writeFrameHeader(room, 0, "part", id, piece.length);
          room.set(piece, frameHeaderBytes);
          await write(room.subarray(0, frameHeaderBytes + piece.length), true);
        }
      }
      checkDone(`put ${metaName.kind}`, await frame, length);
    },
    sendFrames: async (frames) => {
      if (failure) throw failure;
      if (order.state !== "session") throw new InternalError(`chunks in state ${order.state}`);
      await write(frames);
      await watch.waitFor(connection.flushed());
      watch.restart();
      if (failure) throw failure;
    },
    endSession: async (body) => {
      const frame = answered("endSession", "done");
      frame.catch(() => undefined);
      await say("endSession", sessionId, body);
      checkDone("endSession", await frame, 0);
    },
    close: async () => {
      await say("goodbye", ++lastId, {});
      // All that was asked for was answered: what it does now is its own affair, and is not waited for.
      const left = connection.end().then(async () => connection.ended);
      await Promise.race([left.catch(() => undefined), afterGrace(leaveMs)]);
    },
    [Symbol.asyncDispose]: dispose,
  };
  return client;
}

/** A bug anywhere above must not show what a sealed archive hides. `start` holds at least the file's prefix. */
function checkSealed({ kind }: MetaName, start: Uint8Array): void {
  if (kind !== "index" && kind !== "header" && kind !== "manifest") return;
  if (decodePrefix(start).protection !== "sealed")
    throw new InternalError(`put ${kind}: not sealed, in a sealed archive`);
}

/** Answers outlive the stream's buffer. */
function copied(frame: Frame): Frame {
  return structuredClone(frame);
}

/** `ended`: its stream is over, so that what is wrong is that nothing more comes. */
async function explain(error: unknown, ended: boolean, connection: Connection, name: string): Promise<Error> {
  if (!(error instanceof FormatError)) return error instanceof Error ? error : new Error(String(error));
  if (!ended && error.code !== "bad-magic") {
    return new AgentError("failed", `${name}: broke the protocol: ${error.message}`, undefined, {
      cause: error,
    });
  }
  // It may be on its way out by itself: its own exit code explains more than our signal would.
  const end = await Promise.race([connection.ended, afterGrace()]);
  if (end === undefined) return new TransportError(`talk to ${name}: ${error.message}`, false);
  return connectionLost(name, `talk to ${name}`, end);
}

async function afterGrace(ms = 1000): Promise<undefined> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms, undefined).unref();
  });
}
