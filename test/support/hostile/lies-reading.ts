// Lies in the answers to what dom0 reads: heads, headers, indexes, manifests, and what is unfinished.

import { readdirSync } from "node:fs";
import { decodeArchiveHeader, encodeArchiveHeader } from "../../../protocol/archive/archive-header.ts";
import {
  chainOf,
  decodeHead,
  encodeHead,
  type Head,
  logEntryBytes,
  maxGenerations,
} from "../../../protocol/archive/head.ts";
import { listHeadBytes } from "../../../protocol/archive/list-file.ts";
import { prefixBytes } from "../../../protocol/archive/prefix.ts";
import type { Digest, Generation, SessionName, SessionUid } from "../../../protocol/archive/types.ts";
import { concatBytes } from "../../../protocol/bytes.ts";
import type { MessageName, Messages } from "../../../protocol/wire/messages.ts";
import {
  broken,
  bytesOf,
  escapes,
  fileOf,
  type Lie,
  say,
  type Stage,
  volumeFiles,
  volumeOf,
} from "./stage.ts";
import { answering, asking, data, file, flooding, forged, frames, insteadOf, slowly } from "./telling.ts";

/** Another head, as consistent as anybody can make it who has no key, and the hello that announces it. */
function headOf(change: (head: Head) => Partial<Head>): Lie {
  let head: Uint8Array | undefined;
  const forge = (stage: Stage, generation: Generation): Head => {
    const own = decodeHead(fileOf(stage, "heads", String(generation)));
    const body = { ...own, ...change(own) };
    const made = { ...body, chain: chainOf(own.archive, body.generation, body.previousChain, body) };
    head = encodeHead(made);
    return made;
  };
  const instead = insteadOf("head", (id) => (head === undefined ? undefined : file(head)(id)));
  return {
    ...instead,
    answer: (frame, stage) => {
      if (frame.type !== "receiverHello" || frame.body.generation === 0)
        return instead.answer?.(frame, stage);
      const { generation } = forge(stage, frame.body.generation);
      const headDigest = head?.slice(-32) as Digest;
      return [say("receiverHello", frame.id, { ...frame.body, generation, headDigest })];
    },
  };
}

/** The archive's header, sealed where it is not and not where it is, and the head that names it. */
function otherProtection(
  stage: Stage,
  generation: Generation,
): { readonly head: Uint8Array; readonly archive: Uint8Array } {
  const header = decodeArchiveHeader(fileOf(stage, "archive"));
  const idSeed = new Uint8Array(32).fill(header.sealed ? 1 : 0);
  const archive = encodeArchiveHeader({ ...header, sealed: !header.sealed, idSeed, slots: [] });
  const own = decodeHead(fileOf(stage, "heads", String(generation)));
  const body = { ...own, archiveDigest: archive.slice(-32) as Digest };
  const chain = chainOf(own.archive, generation, own.previousChain, body);
  return { head: encodeHead({ ...body, chain }), archive };
}

/** Says a frame that has no place here, in front of the first one of an answer. */
function outOfPlace<Name extends MessageName>(type: Name, body: Messages[Name]): Lie {
  return answering("readMeta", "data", (frame) => [say(type, frame.id, body), bytesOf(frame)]);
}

const indexNow = (stage: Stage): string =>
  volumeFiles(stage)
    .filter((name) => name.startsWith("index."))
    .sort((a, b) => Number(a.slice(6)) - Number(b.slice(6)))
    .at(-1) ?? "";

const pending = (i: number): Messages["pending"] => ({
  directory: `volume-${i}`,
  name: "S_20261123-101500" as SessionName,
  form: "dir",
  finished: false,
  session: new Uint8Array(16).fill(i & 255) as SessionUid,
});

export const readingLies: Readonly<Record<string, Lie>> = {
  "head missing": insteadOf("head", (id) => [say("refused", id, { code: "missing", reason: escapes })]),
  "head of an earlier generation": asking("head", (name) => ({
    generation: (name.generation - 1) as Generation,
  })),
  "head altered": data("head", (bytes, id) => {
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    return [say("data", id, { bytes })];
  }),
  "head forged, and announced so": headOf((head) => ({ createdAt: head.createdAt + 1 })),
  "head of a million generations": headOf((head) => ({
    generation: maxGenerations as Generation,
    log: concatBytes([head.log, new Uint8Array(maxGenerations * logEntryBytes - head.log.length)]),
  })),
  "head cut short": data("head", (bytes, id) => [say("data", id, { bytes: bytes.subarray(0, 100) })]),
  "head cut short, and counted so": insteadOf("head", (id, stage) =>
    file(fileOf(stage, "heads", "1").subarray(0, 100))(id),
  ),
  "head in two halves, swapped": data("head", (bytes, id) => [
    say("data", id, { bytes: bytes.subarray(100) }),
    say("data", id, { bytes: bytes.subarray(0, 100) }),
  ]),
  "head said twice": answering("readMeta", "done", (frame) => [bytesOf(frame), bytesOf(frame)]),
  "nothing but done": insteadOf("head", (id) => [say("done", id, { bytes: 0 })]),
  "done with another count": answering("readMeta", "done", (frame) => [
    say("done", frame.id, { bytes: (frame.body as Messages["done"]).bytes + 1 }),
  ]),
  "done with another id": answering("readMeta", "done", (frame) => [
    say("done", frame.id + 1, frame.body as Messages["done"]),
  ]),
  "endless head": flooding("head", (id) => frames(say("data", id, { bytes: new Uint8Array(65_000) }))),
  "endless head of small pieces": flooding("head", (id) =>
    frames(say("data", id, { bytes: new Uint8Array(8) })),
  ),
  "endless head of empty pieces": flooding("head", (id) =>
    frames(say("data", id, { bytes: new Uint8Array(0) })),
  ),
  "endless archive header": flooding("archive", (id) =>
    frames(say("data", id, { bytes: new Uint8Array(100) })),
  ),
  "endless index": flooding("index", (id) => frames(say("data", id, { bytes: new Uint8Array(1_000_000) }))),
  "endless manifest": flooding("manifest", (id) =>
    frames(say("data", id, { bytes: new Uint8Array(1_000_000) })),
  ),
  "an archive that is sealed otherwise": {
    // Header, head and hello of an archive of the same uuid that is unsealed, where this one is sealed, or sealed.
    answer: (frame, stage) => {
      if (frame.type !== "receiverHello" || frame.body.generation === 0) return undefined;
      const head = otherProtection(stage, frame.body.generation).head;
      return [say("receiverHello", frame.id, { ...frame.body, headDigest: head.slice(-32) as Digest })];
    },
    request: (frame, stage) => {
      if (frame.type !== "readMeta") return undefined;
      const { kind, generation } = frame.body;
      if (kind !== "head" && kind !== "archive") return undefined;
      const newest = readdirSync(`${stage.archive}/heads`).length as Generation;
      stage.say(...file(otherProtection(stage, kind === "head" ? generation : newest)[kind])(frame.id));
      return [];
    },
  },
  "archive header altered": data("archive", (bytes, id) => [say("data", id, { bytes: forged(bytes, 60) })]),
  "archive header with another code": data("archive", (bytes, id) => [
    say("data", id, { bytes: forged(bytes, bytes.length - 40) }),
  ]),
  "index missing": insteadOf("index", (id) => [say("refused", id, { code: "missing", reason: "" })]),
  "index of an earlier generation": insteadOf("index", (id, stage) => {
    const [first = ""] = volumeFiles(stage).filter((name) => name.startsWith("index."));
    return file(fileOf(stage, volumeOf(stage), first))(id);
  }),
  "index altered": insteadOf("index", (id, stage) =>
    file(forged(fileOf(stage, volumeOf(stage), indexNow(stage)), 120))(id),
  ),
  "a head in place of an index": insteadOf("index", (id, stage) => file(fileOf(stage, "heads", "1"))(id)),
  "manifest altered": data("manifest", (bytes, id) => [say("data", id, { bytes: forged(bytes, 120) })]),
  // What the prune of generation 5 wrote anew lies beside a tar, and the tar has the one from before.
  "manifest of an earlier generation": asking("manifest", (name) =>
    name.generation === 5 ? { generation: 3 as Generation } : {},
  ),
  "manifest of another session": {
    request: (frame, stage) => {
      if (frame.type !== "readMeta" || frame.body.kind !== "manifest") return undefined;
      const first = stage.first("readMeta", (body) => body.kind === "manifest");
      return first === undefined ? undefined : [{ ...frame, body: first }];
    },
  },
  "heartbeats without progress": insteadOf("head", (id, stage) => {
    stage.every(200, () => stage.say(say("progress", id, { bytes: 7, chunks: 7 })));
    return undefined;
  }),
  "progress of what was never asked for": insteadOf("head", (id, stage) => {
    let bytes = 0;
    stage.every(200, () => stage.say(say("progress", id, { bytes: (bytes += 1_000_000), chunks: bytes })));
    return undefined;
  }),
  "a flood of heartbeats": flooding("head", (id) => frames(say("progress", id, { bytes: 0, chunks: 0 }))),
  "aborted with escape sequences": insteadOf("head", (id) => [
    say("aborted", id, { code: "internal", reason: escapes.repeat(8) }),
  ]),
  "a chunk in place of a head": outOfPlace("stored", { address: 0 as never, bytes: new Uint8Array(9) }),
  "a checkpoint in place of a head": outOfPlace("checkpoint", { chunks: 5, address: 0 as never }),
  "committed in place of a head": outOfPlace("committed", {
    generation: 9 as Generation,
    headDigest: new Uint8Array(32) as never,
  }),
  "the end in the middle of a frame": answering("readMeta", "data", (frame, stage) => {
    stage.say(bytesOf(frame).subarray(0, 40));
    stage.exit(0);
    return [];
  }),
  "the end, and an exit code that means success": insteadOf("head", (_, stage) => {
    stage.exit(0);
    return undefined;
  }),
  "a flood on stderr, then death": insteadOf("head", (_, stage) => {
    for (let i = 0; i < 2000; i++) stage.print(`${escapes}${"x".repeat(2000)}\n`);
    stage.print(escapes);
    stage.exit(3);
    return undefined;
  }),
  "a hundred thousand pending": answering("listPending", "done", (frame) => [
    ...Array.from({ length: 100_000 }, (_, i) => say("pending", frame.id, pending(i))),
    bytesOf(frame),
  ]),
  "pending, one after the other": slowly("listPending", (id) =>
    Array.from({ length: 1000 }, (_, i) => say("pending", id, pending(i))),
  ),
  "pending where a path leads out": answering("listPending", "done", (frame) => [
    broken(say("pending", frame.id, { ...pending(0), directory: "aa-bb" }), (_, bytes) =>
      bytes.set([0x2e, 0x2e, 0x2f, 0x62, 0x62], 14),
    ),
    bytesOf(frame),
  ]),
  "pending with a name to obey": answering("listPending", "done", (frame) => [
    broken(say("pending", frame.id, { ...pending(0), directory: "aaaaa" }), (_, bytes) =>
      bytes.set([0x1b, 0x5b, 0x33, 0x31, 0x6d], 14),
    ),
    bytesOf(frame),
  ]),
  "pending that is committed": answering("listPending", "done", (frame, stage) => {
    const [name = ""] = volumeFiles(stage).filter((each) => each.startsWith("S_"));
    const session = fileOf(stage, volumeOf(stage), name, "list").slice(
      prefixBytes,
      listHeadBytes,
    ) as SessionUid;
    const body = {
      ...pending(0),
      directory: volumeOf(stage),
      name: name as SessionName,
      finished: true,
      session,
    };
    return [say("pending", frame.id, body), bytesOf(frame)];
  }),
};
