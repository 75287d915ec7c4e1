// Files and chunks of another archive, which lies beside the right one: everything there fits together, but it is of another
// uuid and another key.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { ArchiveUuid } from "../../../protocol/archive/types.ts";
import type { MetaKind } from "../../../protocol/wire/messages.ts";
import { type Lie, otherDirectory, say, type Stage } from "./stage.ts";
import { chunks, file, insteadOf } from "./telling.ts";

/** The paths of the other archive's files whose names match, the oldest first. */
function othersFiles(stage: Stage, wanted: RegExp): readonly string[] {
  const archive = join(stage.archive, "..", otherDirectory);
  return readdirSync(archive, { recursive: true, encoding: "utf8" })
    .filter((path) => wanted.test(basename(path)))
    .sort()
    .map((path) => join(archive, path));
}

const names: Readonly<Record<Exclude<MetaKind, "headCopy" | "indexCopy">, RegExp>> = {
  archive: /^archive$/,
  head: /^\d$/,
  dead: /^\d$/,
  index: /^index\.\d+$/,
  header: /^header$/,
  manifest: /^manifest\.\d+$/,
  list: /^list$/,
};

/** A file of a kind: the newest (-1), or the oldest (0), which is as long as the one that it stands for. */
const others = (kind: keyof typeof names, which: 0 | -1 = -1): Lie =>
  insteadOf(kind, (id, stage) => {
    const path = othersFiles(stage, names[kind]).at(which);
    if (path === undefined || !existsSync(path)) throw new Error(`the other archive has no ${kind}`);
    return file(new Uint8Array(readFileSync(path)))(id);
  });

/** The agent is shown the other archive, by the uuid that `as` makes of the one that it knows. */
function whole(as: (known: ArchiveUuid, other: ArchiveUuid) => ArchiveUuid): Lie {
  let known: ArchiveUuid | undefined;
  return {
    request: (frame) => {
      if (frame.type !== "agentHello") return undefined;
      known = frame.body.archive.slice() as Uint8Array as ArchiveUuid;
      return [{ ...frame, body: { ...frame.body, directory: otherDirectory } }];
    },
    answer: (frame) => {
      if (frame.type !== "receiverHello" || known === undefined) return undefined;
      return [say("receiverHello", frame.id, { ...frame.body, archive: as(known, frame.body.archive) })];
    },
  };
}

export const substitutingLies: Readonly<Record<string, Lie>> = {
  "another archive": whole((_, other) => other),
  "another archive by the uuid of this one": whole((known) => known),
  "another archive's head": others("head"),
  "another archive's archive header": others("archive"),
  "another archive's index": others("index"),
  "another archive's header": others("header"),
  "another archive's manifest": others("manifest"),
  "another archive's list": others("list", 0),
  "another archive's chunks": chunks((all, stage) =>
    all.map((each) => {
      const name = `x${each.address.toString(16).padStart(16, "0")}`;
      const path = othersFiles(stage, new RegExp(`^${name}$`)).at(-1);
      return path === undefined ? each : { ...each, bytes: new Uint8Array(readFileSync(path)) };
    }),
  ),
};
