// One call from its first byte to its last: frames in, the table of legal order run for both directions, one request at a
// time, a heartbeat while it lasts, and one way out for every kind of end (design section 6).

import { FormatError } from "../../protocol/errors.ts";
import { encodeFrame, encodePreamble, type Frame, frameDecoder } from "../../protocol/wire/frame.ts";
import type { MessageName, Messages, Progress, Service } from "../../protocol/wire/messages.ts";
import { dialogue, transitions } from "../../protocol/wire/states.ts";
import type { StoredFile } from "../files.ts";
import { type Reason, reasonOf } from "../errors.ts";
import type { Admission } from "./admission.ts";
import { type Checkpoints, checkpoints } from "./checkpoints.ts";
import { incomingFiles } from "./incoming.ts";
import { streamChunks } from "./read-chunks.ts";
import { streamFile } from "./read-meta.ts";
import type { ReceivedSession } from "./receive-session.ts";
import { syncsEnded } from "../store/part.ts";
import type { OnRemoved } from "../store/store.ts";
import { type Requests, requests } from "./requests.ts";
import type { Output } from "./streams.ts";

export interface Connection {
  /** The next bytes from the other side; they may be overwritten afterwards. */
  readonly take: (untrusted: Uint8Array) => void;
  /** The other side's stream ended, or nobody reads ours: without a goodbye that is a death. */
  readonly lost: () => void;
  /** The receiver is told to stop; it then ends with `exitCode`. */
  readonly stop: (exitCode: number) => void;
  /** The process's exit code, once all is said. */
  readonly finished: Promise<number>;
}

export interface ConnectionOptions {
  readonly service: Service;
  readonly admission: Admission;
  readonly output: Output;
  /** A short line for the log; never holds anything that came over the wire. */
  readonly log: (line: string) => void;
}

const heartbeatMilliseconds = 1000;
/** A caller that says no hello in this time is not one. */
const helloMilliseconds = 60_000;
/** No more heartbeats than this wait for a reader that has stopped reading. */
const maxBacklogBytes = 64 * 1024;
/** A caller that asks on while more than this waits for it does not read at all. */
const maxUnreadBytes = 4 * 1024 * 1024;
/** How long an end waits for what is going on, and for the last words to leave. */
const graceMilliseconds = 5000;

/** Serves one call. */
export function serveConnection({ service, admission, output, log }: ConnectionOptions): Connection {
  const order = dialogue(service);
  const decoder = frameDecoder("agent");
  const over = new AbortController();
  const work: Requests | undefined = admission.admitted ? requests(service, admission.settings) : undefined;
  let requestId = 0;
  let sessionId = 0;
  let progress: Progress = { bytes: 0, chunks: 0 };
  let session: ReceivedSession | undefined;
  let syncs: Checkpoints | undefined;
  let running: Promise<void> | undefined;
  let finish: (exitCode: number) => void = () => {};
  const finished = new Promise<number>((resolve) => {
    finish = resolve;
  });

  /** Resolves once it has left. */
  const tell = async <Name extends MessageName>(
    type: Name,
    id: number,
    body: Messages[Name],
  ): Promise<void> => {
    order.step(type, id);
    await output.write(encodeFrame(type, id, body));
  };
  const say = <Name extends MessageName>(type: Name, id: number, body: Messages[Name]): void => {
    void tell(type, id, body);
  };

  // ---------------------------------------------------------------- ends

  /** Everything ends here: the heartbeat, what is going on, files and lock; then the last words leave. */
  const close = async (exitCode: number): Promise<void> => {
    if (over.signal.aborted) return;
    over.abort();
    clearInterval(heartbeat);
    clearTimeout(helloTimer);
    // A sync that fails now must still be able to say so to the part, and holds the lock until then (store/part.ts).
    await syncsEnded();
    await Promise.race([Promise.allSettled([running, syncs?.settle()]), pause(graceMilliseconds)]);
    await Promise.race([output.end(), pause(graceMilliseconds)]);
    puts[Symbol.dispose]();
    session?.[Symbol.dispose]();
    work?.[Symbol.dispose]();
    finish(exitCode);
  };
  const abort = (reason: Reason, exitCode = 1): void => {
    if (over.signal.aborted) return;
    log(`aborted: ${reason.code}`);
    if (order.state !== "start" && order.state !== "closed") say("aborted", requestId, reason);
    void close(exitCode);
  };
  const explain = (error: unknown): Reason => reasonOf(error, () => work?.space());
  /** The open request can't be done: a refusal where the dialogue knows one there, otherwise the end. */
  const fail = (error: unknown): void => {
    if (over.signal.aborted) return;
    const reason = explain(error);
    if (reason.code === "internal") logBug(error, log);
    if (transitions[order.state].refused === undefined) {
      abort(reason);
      return;
    }
    log(`refused: ${reason.code}`);
    say("refused", requestId, reason);
    if (order.state === "closed") void close(1);
  };

  // ---------------------------------------------------------------- work

  /** Runs the open request beside the dialogue. */
  const run = (action: () => Promise<void>): void => {
    running = (async () => {
      try {
        await action();
      } catch (error) {
        fail(error);
      }
    })();
  };
  const answer = <Name extends MessageName>(type: Name, body: Messages[Name]): void => {
    if (!over.signal.aborted) say(type, requestId, body);
  };
  const done = (bytes = 0): void => answer("done", { bytes });

  /** Sends a file as `data`. */
  const send = async (file: StoredFile, id: number): Promise<number> => {
    const sendFrame = async (bytes: Uint8Array): Promise<void> => {
      order.step("data", id);
      await output.write(bytes);
      progress = { bytes: progress.bytes + bytes.length, chunks: progress.chunks };
    };
    return await streamFile(file, id, sendFrame, over.signal);
  };

  const puts = incomingFiles({
    onPart: (bytes) => {
      progress = { bytes: progress.bytes + bytes, chunks: progress.chunks };
    },
    onRefused: fail,
    onSessionFile: (upload) => {
      session?.putDone(upload);
      done(upload.announced.length);
      requestId = sessionId;
    },
    onFile: (file) => {
      run(async () => {
        using ended = file;
        await ended.finish();
        done(ended.upload.announced.length);
      });
    },
  });

  /** Of a discard or a sweep: each name that it has looked at counts, and each file with its bytes as well. */
  const onRemoved: OnRemoved = (bytes) => {
    progress = { bytes: progress.bytes + bytes, chunks: progress.chunks + 1 };
  };

  const handle = (frame: Frame): void => {
    order.step(frame.type, frame.id);
    const at = work;
    if (frame.type === "agentHello") return greet(frame);
    if (at === undefined) return;
    if (frame.type !== "part" && frame.type !== "chunk") {
      requestId = frame.id;
      progress = { bytes: 0, chunks: 0 };
      if (output.backlog > maxUnreadBytes)
        return abort({ code: "stalled", reason: "requests come, and their answers are not read" });
    }
    switch (frame.type) {
      case "readMeta":
        return run(async () => {
          using file = at.open(frame.body);
          done(await send(file, frame.id));
        });
      case "readChunks":
        return run(async () => {
          const { addresses } = frame.body;
          using chunks = at.chunks(frame.body);
          const onStored = (bytes: number): void => {
            order.step("stored", frame.id);
            progress = { bytes: progress.bytes + bytes, chunks: progress.chunks + 1 };
          };
          const write = async (bytes: Uint8Array): Promise<void> => output.write(bytes);
          const watch = { id: frame.id, onStored, write, signal: over.signal };
          const bytes = await streamChunks(chunks, addresses, watch);
          at.checkMount();
          done(bytes);
        });
      case "scrub":
        return run(async () => {
          const onBytes = (bytes: number): void => {
            progress = { bytes: progress.bytes + bytes, chunks: progress.chunks + 1 };
          };
          const onDamage = (damage: Messages["damage"]): void => answer("damage", damage);
          await at.scrub(frame.body, { onDamage, onBytes, signal: over.signal });
          at.checkMount();
          done(progress.bytes);
        });
      case "reveal":
        return run(async () => {
          at.reveal(frame.body);
          done();
        });
      case "listPending":
        return run(async () => {
          // Each once the one before has left: there may be any number of them, and a caller that does not read.
          for (const each of at.pending()) {
            if (over.signal.aborted) return;
            await tell("pending", frame.id, each);
          }
          done();
        });
      case "salvage":
        return run(async () => {
          const onBytes = (bytes: number): void => {
            progress = { bytes: progress.bytes + bytes, chunks: progress.chunks + 1 };
          };
          using list = await at.salvage(frame.body, onBytes);
          at.checkMount();
          done(await send(list, frame.id));
        });
      case "discard":
        return run(async () => {
          await at.discard(frame.body, onRemoved);
          at.checkMount();
          done();
        });
      case "sweep":
        return run(async () => {
          const freed = await at.sweep(onRemoved);
          at.checkMount();
          done(freed);
        });
      case "put":
        if (session === undefined) return puts.begin(frame.body, () => at.put(frame.body));
        return puts.beginInSession(session.put(frame.body));
      case "part":
        return puts.take(frame.body.bytes);
      case "beginSession":
        return run(async () => {
          sessionId = frame.id;
          session = await at.begin(frame.body);
          syncs = checkpoints(session.writer, (reached) => report(frame.id, reached), fail);
          done();
        });
      case "chunk":
        session?.chunk(frame.body);
        syncs?.note();
        return;
      case "endSession":
        return run(async () => {
          const ending = session;
          progress = ending?.written ?? progress;
          await syncs?.settle();
          session = undefined;
          syncs = undefined;
          using _ended = ending;
          await ending?.end(frame.body);
          at.checkMount();
          done();
        });
      case "commit":
        return run(async () => {
          const { generation, headDigest } = await at.commit(frame.body);
          answer("committed", { generation, headDigest });
        });
      case "assemble":
        return run(async () => {
          const onProgress = (bytes: number, chunks: number): void => {
            progress = { bytes, chunks };
          };
          answer("assembled", await at.assemble(frame.body, { signal: over.signal, onProgress }));
        });
      case "goodbye":
        void close(0);
        return;
      default:
        throw new FormatError("bad-order", `${frame.type} is not for a receiver`);
    }
  };

  /** What can't be done is refused, and the frames behind it still count; what breaks the protocol ends the call. */
  const attempt = (frame: Frame): void => {
    try {
      handle(frame);
    } catch (error) {
      if (error instanceof FormatError) throw error;
      fail(error);
    }
  };

  const greet = (frame: Extract<Frame, { type: "agentHello" }>): void => {
    clearTimeout(helloTimer);
    requestId = frame.id;
    if (!admission.admitted || work === undefined) {
      const exitCode = admission.admitted ? 1 : admission.exitCode;
      const reason = explain(admission.admitted ? undefined : admission.refusal);
      log(`refused: ${reason.code}`);
      say("refused", frame.id, reason);
      void close(exitCode);
      return;
    }
    run(async () => answer("receiverHello", await work.hello(frame.body)));
  };

  /** A checkpoint counts only while its session goes on. */
  const report = (id: number, reached: Messages["checkpoint"]): void => {
    if (over.signal.aborted || id !== sessionId) return;
    if (order.state === "session" || order.state === "sessionPutting") say("checkpoint", id, reached);
  };

  // ---------------------------------------------------------------- time

  const beat = (): void => {
    if (transitions[order.state].progress === undefined) return;
    try {
      work?.checkMount();
    } catch (error) {
      abort(explain(error));
      return;
    }
    if (output.backlog > maxBacklogBytes) return;
    const inSession = session !== undefined;
    const { bytes, chunks } = session?.written ?? progress;
    say("progress", inSession ? sessionId : requestId, { bytes, chunks });
  };
  const heartbeat = setInterval(beat, heartbeatMilliseconds);
  const helloTimer = setTimeout(() => {
    abort({ code: "stalled", reason: "no hello" });
  }, helloMilliseconds);

  void output.write(encodePreamble());
  return {
    finished,
    take: (untrusted) => {
      if (over.signal.aborted) return;
      try {
        for (const frame of decoder.push(untrusted)) {
          attempt(frame);
          if (over.signal.aborted) return;
        }
      } catch (error) {
        abort(explain(error));
      }
    },
    lost: () => {
      if (over.signal.aborted) return;
      log("the caller went away without a goodbye");
      void close(admission.admitted ? 1 : admission.exitCode);
    },
    stop: (exitCode) => abort({ code: "stopped", reason: "the receiver was told to stop" }, exitCode),
  };
}

async function pause(milliseconds: number): Promise<void> {
  await new Promise<void>((resolve) => {
    setTimeout(resolve, milliseconds).unref();
  });
}

/** Where a bug was, without the message, which may hold what came over the wire. */
function logBug(error: unknown, log: (line: string) => void): void {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  const places = stack.split("\n").filter((line) => /^\s+at /.test(line));
  for (const line of places.slice(0, 5)) log(line.trim().slice(0, 160));
}
