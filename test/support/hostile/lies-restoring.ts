// Lies about chunks, about what an interrupted session has left, and about lists.

import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { concatBytes, equalBytes } from "../../../protocol/bytes.ts";
import {
  decodeList,
  listBuilder,
  type ListEntry,
  listHeadBytes,
} from "../../../protocol/archive/list-file.ts";
import { decodePrefix, prefixBytes } from "../../../protocol/archive/prefix.ts";
import type {
  ChunkAddress,
  Digest,
  Generation,
  SessionName,
  SessionUid,
} from "../../../protocol/archive/types.ts";
import type { Frame } from "../../../protocol/wire/frame.ts";
import type { Messages } from "../../../protocol/wire/messages.ts";
import { bytesOf, fileOf, type Lie, say, type Stage, volumeFiles, volumeOf } from "./stage.ts";
import { chunks, data, file, flooding, forged, frames, growing, insteadOf, slowly } from "./telling.ts";

type Stored = Messages["stored"];

/** The first chunk of every answer, changed. */
function firstChunk(change: (chunk: Stored) => Partial<Stored>): Lie {
  return chunks((all) => all.map((each, i) => (i === 0 ? { ...each, ...change(each) } : each)));
}

/** Each two chunks of the same stored length change places. */
function swapped(all: Stored[]): readonly Stored[] {
  const bytes = all.map((each) => each.bytes);
  for (let i = 0; i < bytes.length; i++) {
    const j = bytes.findIndex(
      (each, k) => k > i && each.length === bytes[i]?.length && !equalBytes(each, bytes[i] ?? each),
    );
    const [one, other] = [bytes[i], bytes[j]];
    if (one !== undefined && other !== undefined) [bytes[i], bytes[j]] = [other, one];
  }
  return all.map((each, i) => ({ ...each, bytes: bytes[i] ?? each.bytes }));
}

/** The list of what a session has left, with other entries, as good as any. */
function listOf(change: (entries: ListEntry[]) => readonly ListEntry[]): Lie {
  let told: number | undefined;
  return {
    answer: (frame, stage) => {
      // The agent may have asked for more by the time at which the real end comes.
      if (frame.type === "done" && frame.id === told) return [];
      if (stage.newest !== "salvage" || frame.type !== "data") return undefined;
      told = frame.id;
      const bytes = frame.body.bytes.slice();
      const session = bytes.slice(prefixBytes, listHeadBytes) as SessionUid;
      const builder = listBuilder({ ...decodePrefix(bytes), session });
      const records = change([...decodeList(bytes)]).map((each) => builder.add(each).slice());
      return file(concatBytes([builder.head, ...records, builder.finish().tail]))(frame.id);
    },
  };
}

/** The pending session by another name or uid. */
function pendingAs(change: (body: Messages["pending"], stage: Stage) => Partial<Messages["pending"]>): Lie {
  return {
    answer: (frame, stage) =>
      frame.type === "pending"
        ? [say("pending", frame.id, { ...frame.body, ...change(frame.body, stage) })]
        : undefined,
  };
}

/** Damages behind those that the real receiver finds in a container; `change` is given the addresses that are in it. */
function damaged(change: (listed: readonly ChunkAddress[]) => readonly Partial<Messages["damage"]>[]): Lie {
  return {
    answer: (frame, stage) => {
      const of = stage.last("scrub");
      if (frame.type !== "done" || stage.newest !== "scrub" || of === undefined) return undefined;
      const found = change(listedIn(stage, of.session));
      const damages = found.map((each) =>
        say("damage", frame.id, { ...something, ...structuredClone(of), ...each }),
      );
      return [...damages, bytesOf(frame)];
    },
  };
}

const something = { file: "other", what: "corrupt", number: 0 } as const;
const called =
  (what: "missing" | "corrupt") =>
  (listed: readonly ChunkAddress[]): readonly Partial<Messages["damage"]>[] =>
    listed.map((number) => ({ file: "chunk", what, number }));

/** Addresses of the chunks of a session that lies in a directory. */
function listedIn(stage: Stage, session: SessionUid): readonly ChunkAddress[] {
  for (const name of volumeFiles(stage)) {
    if (!/^S_[\d-]+$/.test(name)) continue;
    const list = fileOf(stage, volumeOf(stage), name, "list");
    if (equalBytes(list.subarray(prefixBytes, listHeadBytes), session))
      return Array.from(decodeList(list), ({ address }) => address);
  }
  return [];
}

/** Which heads there were when containers were scrubbed last: `isLater` where another one has been made since. */
const sinceScrub = {
  path: (stage: Stage): string => join(stage.archive, "..", "scrubbed"),
  heads: (stage: Stage): string => readdirSync(join(stage.archive, "heads")).sort().join(),
  request: (frame: Frame, stage: Stage): undefined => {
    if (frame.type === "scrub") writeFileSync(sinceScrub.path(stage), sinceScrub.heads(stage));
  },
  isLater: (stage: Stage): boolean | undefined =>
    existsSync(sinceScrub.path(stage))
      ? readFileSync(sinceScrub.path(stage), "utf8") !== sinceScrub.heads(stage)
      : undefined,
};

/** Each check finds all chunks lost, and so does whoever reads before the next head is made. */
function losing(): Lie {
  const missing = chunks((all) => all.map((each) => ({ ...each, bytes: new Uint8Array(0) })));
  return {
    request: sinceScrub.request,
    answer: (frame, stage) => {
      const of = stage.newest === "scrub" ? stage.last("scrub") : undefined;
      const isOfContainer = of?.volume.some((byte) => byte !== 0) === true;
      if (of !== undefined && isOfContainer && frame.type === "done")
        return [say("damage", frame.id, { ...something, ...structuredClone(of) }), bytesOf(frame)];
      return sinceScrub.isLater(stage) === false ? missing.answer?.(frame, stage) : undefined;
    },
  };
}

/** To whoever only reads, where `wanted`. */
function unreadable(wanted: (stage: Stage) => boolean): Lie {
  return {
    request: sinceScrub.request,
    answer: (frame, stage) => {
      const isReader = stage.last("agentHello")?.service === "sparsebak.Receive";
      const isManifest = stage.newest === "readMeta" && stage.last("readMeta")?.kind === "manifest";
      if (!isReader || !isManifest || !wanted(stage)) return undefined;
      return frame.type === "done" ? [say("refused", frame.id, { code: "io", reason: "" })] : [];
    },
  };
}

const discarding = growing("discard");
const withoutList = insteadOf("list", (id) => [say("refused", id, { code: "missing", reason: "" })]);
const allMissing = damaged(called("missing"));

export const restoringLies: Readonly<Record<string, Lie>> = {
  "chunks of the same size that change places": chunks(swapped),
  "chunks in another order": chunks((all) => [...all].reverse()),
  "a chunk too few": chunks((all) => all.slice(1)),
  "a chunk too many": chunks((all) => [...all, ...all.slice(0, 1)]),
  "a chunk altered": firstChunk(({ bytes }) => ({
    bytes: bytes.map((byte, i) => (i === 20 ? byte ^ 1 : byte)),
  })),
  "a chunk cut short": firstChunk(({ bytes }) => ({ bytes: bytes.subarray(1) })),
  "a chunk that grows": firstChunk(() => ({ bytes: new Uint8Array(4_000_000) })),
  "a chunk that is not there": firstChunk(() => ({ bytes: new Uint8Array(0) })),
  "a chunk of another address": firstChunk(({ address }) => ({
    address: (address + 65_536) as ChunkAddress,
  })),
  "no container": {
    request: (frame, stage) => {
      if (frame.type !== "readChunks") return undefined;
      stage.say(say("refused", frame.id, { code: "missing", reason: "\u001b[2J" }));
      return [];
    },
  },
  "chunks without end": {
    request: (frame, stage) => {
      if (frame.type !== "readChunks") return undefined;
      stage.flood(
        frames(say("stored", frame.id, { address: 0 as ChunkAddress, bytes: new Uint8Array(65_000) })),
      );
      return [];
    },
  },
  "chunks, and not a word more": {
    request: (frame, stage) => {
      if (frame.type === "readChunks") stage.mute();
      return undefined;
    },
  },
  "chunks counted otherwise": {
    answer: (frame, stage) =>
      frame.type === "done" && stage.newest === "readChunks"
        ? [say("done", frame.id, { bytes: frame.body.bytes + 1 })]
        : undefined,
  },
  "header altered": data("header", (bytes, id) => [say("data", id, { bytes: forged(bytes, 90) })]),
  "endless header": flooding("header", (id) => frames(say("data", id, { bytes: new Uint8Array(1000) }))),

  "left: chunks that were never sent": listOf((entries) => {
    const last = entries.at(-1);
    if (last === undefined) return entries;
    return [...entries, { ...last, address: (last.address + 65_536) as ChunkAddress }];
  }),
  "left: chunks with another checksum": listOf((entries) =>
    entries.map((each) => ({
      ...each,
      checksum: each.checksum.map((byte) => byte ^ 1) as Uint8Array as Digest,
    })),
  ),
  "left: a list without end": {
    request: (frame, stage) => {
      if (frame.type !== "salvage") return undefined;
      stage.flood(frames(say("data", frame.id, { bytes: new Uint8Array(65_000) })));
      return [];
    },
  },
  "left: under the name of another session": pendingAs((_, stage) => {
    const [name = ""] = volumeFiles(stage).filter((each) => each.startsWith("S_"));
    return { name: name as SessionName };
  }),
  "left: by another uid": pendingAs((body) => ({
    session: body.session.map((byte) => byte ^ 1) as Uint8Array as SessionUid,
  })),
  "damages without end": {
    request: (frame, stage) => {
      if (frame.type !== "scrub") return undefined;
      stage.flood(frames(say("damage", frame.id, { ...something, ...frame.body })));
      return [];
    },
  },
  "as many extras as there may be, of every container": damaged(() =>
    Array.from({ length: 65_536 }, () => ({ file: "other", what: "extra" }) as const),
  ),
  "damages of what was never there": damaged(() => [{ file: "chunk", what: "corrupt", number: 2 ** 49 }]),
  "damages of another container": damaged(() => [
    { file: "other", what: "corrupt", session: new Uint8Array(16).fill(7) as SessionUid },
  ]),
  "damages of a tar, in a directory": damaged(() => [{ file: "offsets", what: "missing" }]),
  "a chunk that counts, called extra": damaged((listed) =>
    listed.slice(0, 1).map((number) => ({ file: "chunk", what: "extra", number })),
  ),
  "a list that counts, called stale": damaged(() => [{ file: "list", what: "stale", number: 0 }]),
  "damages of what is right": damaged(called("corrupt")),
  "damages of what is right, and no list": {
    request: (frame, stage) => withoutList.request?.(frame, stage),
    answer: (frame, stage) => withoutList.answer?.(frame, stage) ?? allMissing.answer?.(frame, stage),
  },
  "a scrub that never ends": {
    request: (frame, stage) => {
      if (frame.type !== "scrub") return undefined;
      let bytes = 2 ** 40;
      stage.every(200, () => stage.say(say("progress", frame.id, { bytes: bytes++, chunks: bytes })));
      return [];
    },
  },
  "a scrub of the rest that never ends": growing("scrub", (body) => body.volume.every((byte) => byte === 0)),
  "a sweep that never ends": growing("sweep"),
  "left: nothing of use, and a discard that never ends": {
    request: (frame, stage) => {
      if (frame.type !== "salvage") return discarding.request?.(frame, stage);
      stage.say(say("refused", frame.id, { code: "missing", reason: "" }));
      return [];
    },
  },
  "chunks that are missing, one after the other": slowly("readChunks", (id, { addresses }) =>
    addresses.map((address) => say("stored", id, { address, bytes: new Uint8Array(0) })),
  ),
  "damages, one after the other": slowly("scrub", (id, of) =>
    Array.from({ length: 1000 }, () => say("damage", id, { ...something, ...of })),
  ),
  "manifests that can't be read, for whoever reads only": unreadable(() => true),
  "manifests that can't be read, once something was put back": unreadable(
    (stage) => sinceScrub.isLater(stage) === true,
  ),
  "chunks that are lost as often as they are put back": losing(),
  "list altered": insteadOf("list", (id) => file(new Uint8Array(300))(id)),
  "endless list": flooding("list", (id) => frames(say("data", id, { bytes: new Uint8Array(65_000) }))),
  "an older head said to be missing": {
    // Of a generation that is not there the real receiver says the same.
    request: (frame, stage) =>
      frame.type === "readMeta" && frame.body.kind === "head" && (stage.heard.get("readMeta") ?? 0) > 1
        ? [{ ...frame, body: { ...frame.body, generation: (2 ** 40) as Generation } }]
        : undefined,
  },
  "a sweep that freed everything there is": {
    answer: (frame, stage) =>
      frame.type === "done" && stage.newest === "sweep"
        ? [say("done", frame.id, { bytes: Number.MAX_SAFE_INTEGER })]
        : undefined,
  },
};
