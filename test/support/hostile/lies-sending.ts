// Lies while a session is sent, in the commit, and at the end.

import type { Digest, Generation } from "../../../protocol/archive/types.ts";
import type { MessageName, Messages } from "../../../protocol/wire/messages.ts";
import { bytesOf, escapes, imageBytes, type Lie, say } from "./stage.ts";
import { answering } from "./telling.ts";

/** A request that never reaches the real receiver, with what is answered to it. */
function swallowed<Name extends MessageName>(
  request: Name,
  answer?: (id: number, body: Messages[Name]) => Uint8Array,
): Lie {
  return {
    request: (frame, stage) => {
      if (frame.type !== request) return undefined;
      if (answer !== undefined) stage.say(answer(frame.id, frame.body as Messages[Name]));
      return [];
    },
  };
}

/** The answer to a request, with another body. */
function answerOf<Name extends "done" | "committed">(
  request: MessageName,
  type: Name,
  change: (body: Messages[Name]) => Partial<Messages[Name]>,
): Lie {
  return {
    answer: (frame, stage) => {
      if (frame.type !== type || stage.newest !== request) return undefined;
      const body = frame.body as Messages[Name];
      return [say(type, frame.id, { ...body, ...change(body) })];
    },
  };
}

/** In a session, a frame beside what the real receiver says. */
function beside(frame: (id: number) => Uint8Array): Lie {
  return {
    answer: (real, stage) =>
      real.type === "done" && stage.newest === "beginSession" ? [bytesOf(real), frame(real.id)] : undefined,
  };
}

const far = { chunks: Number.MAX_SAFE_INTEGER, address: (2 ** 50) as never };
const other = new Uint8Array(32).fill(9) as Digest;

export const sendingLies: Readonly<Record<string, Lie>> = {
  "a session refused with a code of integrity": swallowed("beginSession", (id) =>
    say("refused", id, { code: "corrupt", reason: escapes }),
  ),
  "a session that is begun twice": answering("beginSession", "done", (frame) => [
    bytesOf(frame),
    bytesOf(frame),
  ]),
  "a checkpoint of more than was sent": beside((id) => say("checkpoint", id, far)),
  "progress of more than was sent": beside((id) =>
    say("progress", id, { bytes: Number.MAX_SAFE_INTEGER, chunks: Number.MAX_SAFE_INTEGER }),
  ),
  "committed in the middle of a session": beside((id) =>
    say("committed", id, { generation: 3 as Generation, headDigest: other }),
  ),
  "a session given up with escape sequences": beside((id) =>
    say("aborted", id, { code: "no-space", reason: escapes }),
  ),
  "a put that took another count": answerOf("put", "done", () => ({ bytes: 1 })),
  "a put refused before it has come": swallowed("put", (id) =>
    say("refused", id, { code: "no-space", reason: escapes }),
  ),
  "a put done before it has come": swallowed("put", (id, { length }: Messages["put"]) =>
    say("done", id, { bytes: length }),
  ),
  "a chunk that is lost on its way": {
    request: (frame, stage) => (frame.type === "chunk" && stage.heard.get("chunk") === 1 ? [] : undefined),
  },
  "a chunk that is altered on its way": {
    request: (frame) => {
      if (frame.type !== "chunk") return undefined;
      const bytes = frame.body.bytes.slice();
      bytes[20] = (bytes[20] ?? 0) ^ 1;
      return [{ ...frame, body: { ...frame.body, bytes } }];
    },
  },
  "a session's end that never comes": swallowed("endSession"),
  "an end with another count": answerOf("endSession", "done", () => ({ bytes: 12_345 })),
  "committed another generation": answerOf("commit", "committed", (body) => ({
    generation: (body.generation + 1) as Generation,
  })),
  "committed another head": answerOf("commit", "committed", () => ({ headDigest: other })),
  "committed, and not a word of it": {
    answer: (frame) => (frame.type === "committed" ? [] : undefined),
  },
  "committed, and refused": {
    answer: (frame) =>
      frame.type === "committed" ? [say("refused", frame.id, { code: "stale", reason: escapes })] : undefined,
  },
  "committed twice": {
    answer: (frame) => (frame.type === "committed" ? [bytesOf(frame), bytesOf(frame)] : undefined),
  },
  "not committed, and not a word of it": swallowed("commit"),
  "not committed, and said to be": {
    request: (frame, stage) => {
      if (frame.type !== "commit") return undefined;
      const { base, headDigest } = frame.body;
      stage.say(say("committed", frame.id, { generation: (base + 1) as Generation, headDigest }));
      return [];
    },
  },
  "no end behind goodbye": {
    request: (frame, stage) => {
      if (frame.type === "goodbye") stage.mute();
      return undefined;
    },
  },
  "a flood behind goodbye": {
    request: (frame, stage) => {
      if (frame.type !== "goodbye") return undefined;
      const noise = say("progress", frame.id, { bytes: 1, chunks: 1 });
      stage.flood(
        (function* () {
          for (;;) yield noise;
        })(),
      );
      return [];
    },
  },
  "an exit code of failure behind goodbye": {
    request: (frame, stage) => {
      if (frame.type === "goodbye") stage.exit(5);
      return undefined;
    },
  },
  "an image of another size": {
    answer: (frame) =>
      frame.type === "assembled" ? [say("assembled", frame.id, { ...frame.body, size: 1 })] : undefined,
  },
  "an image that was never built": swallowed("assemble", (id) =>
    say("assembled", id, { size: imageBytes, imageDigest: other }),
  ),
  "an image that is never finished": {
    request: (frame, stage) => {
      if (frame.type !== "assemble") return undefined;
      let bytes = 0;
      stage.every(200, () =>
        stage.say(say("progress", frame.id, { bytes: (bytes += 5_000_000), chunks: bytes })),
      );
      return [];
    },
  },
};
