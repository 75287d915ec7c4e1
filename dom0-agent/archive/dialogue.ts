// The agent's end of the dialogue: one request at a time, answers checked against the table of legal order, waits
// bounded. Everything that comes in is from the VM: frames are bounded and typed here, and what they say is for client.ts
// to check.

import {
  encodeFrame,
  encodePreamble,
  type Frame,
  frameDecoder,
  frameHeaderBytes,
  maxNoiseBytes,
  writeFrameHeader,
} from "../../protocol/wire/frame.ts";
import type {
  AgentHello,
  MessageName,
  Messages,
  ReceiverHello,
  Service,
} from "../../protocol/wire/messages.ts";
import { dialogue } from "../../protocol/wire/states.ts";
import { FormatError, InternalError } from "../../protocol/errors.ts";
import { AgentError } from "../errors.ts";
import type { Connection, Transport } from "../transport/transport.ts";
import { type StallWatch, stallWatch } from "../transport/watch.ts";
import { credibleProgress, type Work } from "./credible-progress.ts";
import { afterGrace, explainEnd } from "./explain-end.ts";
import { RefusedError } from "./refused-error.ts";

export interface ConnectOptions {
  readonly transport: Transport;
  readonly service: Service;
  readonly where: Omit<AgentHello, "service">;
  readonly stallSeconds: number;
  readonly signal: AbortSignal;
}

/** Its functions are closures, which may be handed on alone. */
export interface AgentDialogue extends AsyncDisposable {
  /** The receiver, for messages. */
  readonly name: string;
  readonly hello: ReceiverHello;
  readonly connection: Connection;
  /** Bytes that have been written to the receiver. */
  readonly sentBytes: number;
  /** What the receiver says of the session that is being sent: bytes and chunks that it has dealt with. */
  onProgress: ((bytes: number, chunks: number) => void) | undefined;
  /** The id that the next request will have: frames of a session carry the id of its beginSession. */
  readonly nextId: number;
  /** Sends a request and gives the frame of type `answer` that ends its answer; `onFrame` takes those before it. Throws
   *  RefusedError where it is refused. */
  readonly request: <Name extends MessageName>(
    type: Name,
    body: Messages[Name],
    answer: MessageName,
    onFrame?: OnFrame,
    about?: Work,
  ) => Promise<Frame>;
  /** Sends the request `what` to put a file, and `parts`, which are its bytes; gives the frame that answers it. */
  readonly upload: (what: string, body: Messages["put"], parts: Iterable<Uint8Array>) => Promise<Frame>;
  /** Hands frames of the session, laid out by the pipeline, to the pipe; resolves when the buffer is free again. */
  readonly sendFrames: (frames: Uint8Array) => Promise<void>;
  /** Ends the session; gives the frame that answers it. */
  readonly endSession: (body: Messages["endSession"]) => Promise<Frame>;
  /** Says goodbye and waits for the other side's end. */
  readonly close: () => Promise<void>;
}

/** Takes a frame of an answer that has several. What it resolves is waited for before more is read. */
export type OnFrame = (frame: Frame) => Promise<void> | undefined | void;

/** Bytes of a file that are put at once, all from one buffer: a manifest may be hundreds of megabytes. */
const partBytes = 256 * 1024;
/** Milliseconds in which a receiver that has answered everything may leave by itself. */
const leaveMs = 5000;

interface Waiting {
  readonly opener: MessageName;
  readonly what: string;
  readonly answer: MessageName;
  readonly resolve: (frame: Frame) => void;
  readonly reject: (error: Error) => void;
  readonly onFrame?: OnFrame;
  readonly about: Work;
}

/** Opens a service and greets it. Throws TransportError, RefusedError, or AgentError where the protocol is broken. */
export async function openDialogue(options: ConnectOptions): Promise<AgentDialogue> {
  const { transport, service, signal } = options;
  const connection = await transport.open(service, signal);
  const order = dialogue(service);
  const decoder = frameDecoder("receiver", maxNoiseBytes);
  const name = transport.name;
  let lastId = 0;
  let sessionId = 0;
  let sentBytes = 0;
  let waiting: Waiting | undefined;
  let failure: Error | undefined;
  let onProgress: AgentDialogue["onProgress"];

  const fail = (error: Error): void => {
    failure ??= error;
    waiting?.reject(failure);
    waiting = undefined;
    connection.abort(failure);
  };
  const watch: StallWatch = stallWatch({ seconds: options.stallSeconds, what: name, onStall: fail });
  const progress = credibleProgress(watch);

  const handle = (frame: Frame): Promise<void> | undefined | void => {
    order.step(frame.type, frame.id);
    if (frame.type === "aborted") {
      fail(new RefusedError(name, frame.body.code, frame.body.reason));
      return;
    }
    if (frame.type === "progress") {
      progress.claimed(frame.body.bytes + frame.body.chunks, waiting?.about ?? 0, sentBytes);
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
      // Answers outlive the stream's buffer.
      request.resolve(structuredClone(frame));
    } else if (request.onFrame) {
      progress.brought(frame.type === "data" || frame.type === "stored" ? frame.body.bytes.length : 0);
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
      fail(await explainEnd(error, ended, connection, name));
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
    progress.restart();
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
    if (type === "beginSession") sessionId = id;
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

  return {
    name,
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
    request,
    upload: async (what, body, parts) => {
      const id = ++lastId;
      const frame = answered("put", "done", undefined, 0, what);
      frame.catch(() => undefined);
      await say("put", id, body);
      const room = new Uint8Array(frameHeaderBytes + Math.min(body.length, partBytes));
      for (const part of parts) {
        for (let at = 0; at < part.length; at += partBytes) {
          // Answered before it has all come: refused, then, or a lie.
          if (waiting === undefined) {
            await frame;
            throw new AgentError("failed", `${name}: broke the protocol: ${what}: done too early`);
          }
          if (failure) throw failure;
          order.step("part", id);
          const piece = part.subarray(at, at + partBytes);
          writeFrameHeader(room, 0, "part", id, piece.length);
          room.set(piece, frameHeaderBytes);
          await write(room.subarray(0, frameHeaderBytes + piece.length), true);
        }
      }
      return frame;
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
      return frame;
    },
    close: async () => {
      await say("goodbye", ++lastId, {});
      // All that was asked for was answered: what it does now is its own affair, and is not waited for.
      const left = connection.end().then(async () => connection.ended);
      await Promise.race([left.catch(() => undefined), afterGrace(leaveMs)]);
    },
    [Symbol.asyncDispose]: dispose,
  };
}
