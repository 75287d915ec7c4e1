// Lies before and in the greeting.

import { encodePreamble } from "../../../protocol/wire/frame.ts";
import type { Messages } from "../../../protocol/wire/messages.ts";
import { fileDigest } from "../../../protocol/archive/prefix.ts";
import type { Digest, Generation } from "../../../protocol/archive/types.ts";
import { broken, bytesOf, escapes, fileOf, type Lie, say, type Stage } from "./stage.ts";
import { answering } from "./telling.ts";

const noise = (bytes: number): Uint8Array => new Uint8Array(bytes).fill(0x41);

/** The hello with other fields. */
function hello(
  change: (body: Messages["receiverHello"], stage: Stage) => Partial<Messages["receiverHello"]>,
): Lie {
  return answering("agentHello", "receiverHello", (frame, stage) => {
    const body = frame.body as Messages["receiverHello"];
    return [say("receiverHello", frame.id, { ...body, ...change(body, stage) })];
  });
}

/** The hello's bytes changed behind its codec's back. */
function helloBytes(change: (view: DataView, bytes: Uint8Array) => void): Lie {
  return answering("agentHello", "receiverHello", (frame) => [broken(bytesOf(frame), change)]);
}

function* forever(...bytes: readonly Uint8Array[]): Generator<Uint8Array> {
  for (;;) yield* bytes;
}

const generationAt = 12 + 4 + 16;

export const greetingLies: Readonly<Record<string, Lie>> = {
  "noise of 64 KiB": { start: (on) => on.say(noise(65_536), encodePreamble()) },
  "noise of 64 KiB and a byte": { start: (on) => on.say(noise(65_537), encodePreamble()) },
  "endless noise": { start: (on) => on.flood(forever(noise(65_536))) },
  "no word": { start: (on) => on.mute() },
  "a preamble and no word": {
    start: (on) => {
      on.say(encodePreamble());
      on.mute();
    },
  },
  "a preamble that stops in the middle": {
    start: (on) => {
      on.say(encodePreamble().subarray(0, 9));
      on.exit(0);
    },
  },
  "refused with escape sequences": answering("agentHello", "receiverHello", (frame) => [
    say("refused", frame.id, { code: "not-allowed", reason: escapes }),
  ]),
  "refused with an unknown code": answering("agentHello", "receiverHello", (frame) => [
    broken(say("refused", frame.id, { code: "io", reason: "" }), (view) => view.setUint16(12, 999)),
  ]),
  "hello with absurd free space": hello(() => ({
    freeBytes: Number.MAX_SAFE_INTEGER,
    totalBytes: 0,
    freeInodes: 0,
    totalInodes: Number.MAX_SAFE_INTEGER,
    capabilities: 0xffff_ffff,
  })),
  "hello with a number above 2^53": helloBytes((view) => view.setBigUint64(generationAt, 2n ** 63n)),
  "hello of a generation that never was": hello(() => ({
    generation: Number.MAX_SAFE_INTEGER as Generation,
  })),
  "hello of an empty archive": hello((body) => ({
    archive: body.archive.map(() => 0) as never,
    generation: 0 as Generation,
    headDigest: body.headDigest.map(() => 0) as never,
  })),
  "hello of another archive": hello((body) => ({ archive: body.archive.map((byte) => byte ^ 1) as never })),
  "hello of an archive out of nowhere": hello(() => ({
    archive: new Uint8Array(16).fill(7) as never,
    generation: 3 as Generation,
    headDigest: new Uint8Array(32).fill(7) as never,
  })),
  "hello of an older head": hello((body, stage) => {
    const generation = (body.generation - 1) as Generation;
    return { generation, headDigest: fileDigest(fileOf(stage, "heads", String(generation))) };
  }),
  "hello with another digest": hello((body) => ({
    headDigest: body.headDigest.map((byte) => byte ^ 1) as Uint8Array as Digest,
  })),
  "hello twice": answering("agentHello", "receiverHello", (frame) => [bytesOf(frame), bytesOf(frame)]),
  "hello with another id": answering("agentHello", "receiverHello", (frame) => [
    say("receiverHello", 2, frame.body as never),
  ]),
  "hello with a huge length": helloBytes((view) => view.setUint32(8, 0xffff_ffff)),
  "hello with a byte too few": helloBytes((view) => view.setUint32(8, 91)),
  "hello of a type that is the agent's": helloBytes((view) => view.setUint16(0, 10)),
  "hello of an unknown type": helloBytes((view) => view.setUint16(0, 777)),
  "hello with flags": helloBytes((view) => view.setUint16(2, 1)),
};
