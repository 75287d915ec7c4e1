// Ways to tell a lie: at which request or answer it is told, and in place of what.

import { concatBytes } from "../../../protocol/bytes.ts";
import { sha256 } from "../../../protocol/archive/prefix.ts";
import type { Frame } from "../../../protocol/wire/frame.ts";
import {
  maxPartBytes,
  type MessageName,
  type Messages,
  type MetaKind,
  type MetaName,
} from "../../../protocol/wire/messages.ts";
import { type Lie, say, type Stage } from "./stage.ts";

/** A lie about the answer to a request: `lie` is asked once, with the first frame of it that comes. */
export function answering(
  request: MessageName,
  type: MessageName,
  lie: (frame: Frame, stage: Stage) => readonly Uint8Array[] | undefined,
): Lie {
  let told = false;
  return {
    answer: (frame, stage) => {
      if (told || frame.type !== type || !stage.heard.has(request)) return undefined;
      told = true;
      return lie(frame, stage);
    },
  };
}

const copies: Partial<Readonly<Record<MetaKind, MetaKind>>> = { head: "headCopy", index: "indexCopy" };

/** True where a file of that kind is asked for, or its second copy: who lies of one lies of the other. */
function isOf(asked: MetaKind | undefined, kind: MetaKind): boolean {
  return asked !== undefined && (asked === kind || asked === copies[kind]);
}

/** A lie told when a file of a kind is asked for: it takes the place of the whole answer, when that is over. */
export function insteadOf(
  kind: MetaKind,
  lie: (id: number, stage: Stage) => readonly Uint8Array[] | undefined,
): Lie {
  const lyingTo = new Map<MetaKind, number>();
  return {
    request: (frame) => {
      if (frame.type !== "readMeta" || !isOf(frame.body.kind, kind)) return undefined;
      if (!lyingTo.has(frame.body.kind)) lyingTo.set(frame.body.kind, frame.id);
      return undefined;
    },
    answer: (frame, stage) => {
      if (![...lyingTo.values()].includes(frame.id)) return undefined;
      return frame.type === "done" || frame.type === "refused" ? (lie(frame.id, stage) ?? []) : [];
    },
  };
}

/** A file, whole and as announced. */
export function file(bytes: Uint8Array): (id: number) => readonly Uint8Array[] {
  const parts = Array.from({ length: Math.ceil(bytes.length / maxPartBytes) }, (_, i) =>
    bytes.subarray(i * maxPartBytes, (i + 1) * maxPartBytes),
  );
  return (id) => [
    ...parts.map((part) => say("data", id, { bytes: part })),
    say("done", id, { bytes: bytes.length }),
  ];
}

/** Another file is asked for than the agent wants. */
export function asking(kind: MetaKind, change: (name: MetaName) => Partial<MetaName>): Lie {
  return {
    request: (frame) =>
      frame.type === "readMeta" && isOf(frame.body.kind, kind)
        ? [{ ...frame, body: { ...frame.body, ...change(frame.body) } }]
        : undefined,
  };
}

/** The data of the first answer to a read of that kind, and of its copy, changed. */
export function data(kind: MetaKind, change: (bytes: Uint8Array, id: number) => readonly Uint8Array[]): Lie {
  const told = new Set<MetaKind>();
  return {
    answer: (frame, stage) => {
      const asked = stage.last("readMeta")?.kind;
      if (asked === undefined || frame.type !== "data" || !isOf(asked, kind) || told.has(asked))
        return undefined;
      told.add(asked);
      return change(frame.body.bytes.slice(), frame.id);
    },
  };
}

/** The bytes with one changed, and a digest at their end that fits again. */
export function forged(bytes: Uint8Array, at: number): Uint8Array {
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  const body = bytes.subarray(0, -32);
  return concatBytes([body, sha256(body)]);
}

/** A frame said over and over. */
export function* frames(frame: Uint8Array, count: number = Number.POSITIVE_INFINITY): Generator<Uint8Array> {
  // Many at a time, so that the pipe is full of them.
  const many = Math.max(1, Math.floor(65_536 / frame.length));
  const block = concatBytes(Array.from({ length: many }, () => frame));
  for (let said = 0; said < count; said += many) yield block;
}

/** No end of frames in answer to a read of that kind. */
export function flooding(kind: MetaKind, bytes: (id: number) => Iterable<Uint8Array>): Lie {
  return insteadOf(kind, (id, stage) => {
    stage.flood(bytes(id));
    return undefined;
  });
}

/** A request that never ends, with numbers that grow by a megabyte five times a second. */
export function growing<Name extends "scrub" | "sweep" | "discard">(
  request: Name,
  wanted: (body: Messages[Name]) => boolean = () => true,
): Lie {
  return {
    request: (frame, stage) => {
      if (frame.type !== request || !wanted(frame.body as Messages[Name])) return undefined;
      let bytes = 2 ** 41;
      const { id } = frame;
      stage.every(200, () => stage.say(say("progress", id, { bytes: (bytes += 2 ** 20), chunks: 0 })));
      return [];
    },
  };
}

/** The frames of an answer one a second, and no end of it. */
export function slowly<Name extends "readChunks" | "scrub" | "listPending">(
  request: Name,
  answer: (id: number, body: Messages[Name]) => readonly Uint8Array[],
): Lie {
  return {
    request: (frame, stage) => {
      if (frame.type !== request) return undefined;
      const left = [...answer(frame.id, structuredClone(frame.body) as Messages[Name])];
      stage.every(1000, () => stage.say(...left.splice(0, 1)));
      return [];
    },
  };
}

/** The chunks of every answer, changed, and counted as they are said. */
export function chunks(
  change: (chunks: Messages["stored"][], stage: Stage) => readonly Messages["stored"][],
): Lie {
  let held: Messages["stored"][] = [];
  return {
    answer: (frame, stage) => {
      if (frame.type === "stored") {
        held.push({ ...frame.body, bytes: frame.body.bytes.slice() });
        return [];
      }
      if (frame.type !== "done" || stage.newest !== "readChunks") return undefined;
      const said = change(held, stage);
      held = [];
      const bytes = said.reduce((sum, each) => sum + each.bytes.length, 0);
      return [...said.map((each) => say("stored", frame.id, each)), say("done", frame.id, { bytes })];
    },
  };
}
