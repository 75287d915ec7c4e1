// What the receiver says of everything that is in no container of the newest head, and what of it, and of what nobody
// needs in containers, a repair takes away.

import type { ChunkRun, DeadContainer, DeadFile, DeadVolume } from "../../protocol/archive/dead-file.ts";
import type { ChunkAddress, Generation } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { type Damage, isDamage } from "../../protocol/wire/messages.ts";
import type { OldHeads } from "../prune/old-heads.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { CheckedVolume } from "./check-group.ts";

export interface Rest {
  readonly damaged: readonly Damage[];
  /** What nothing names. */
  readonly extras: readonly Damage[];
  /** Of commands that were cut short, or partly removed. */
  readonly leftovers: readonly Damage[];
  /** README.txt, where it is not there, or of another version: no damage either. */
  readonly readme: "missing" | "other" | undefined;
  /** Lists of what was pruned that wait for their day. */
  readonly waiting: number;
}

/** Asks the receiver. It is its word: none of this costs a session. */
export async function checkRest({ client, head }: OpenArchive): Promise<Rest> {
  const said = await client.scrubRest();
  // The newest head, its indexes and the copies of both dom0 reads itself (copies.ts).
  const current = new Map(head.volumes.map((each) => [toHex(each.volume), each.indexGeneration]));
  const isRead = ({ file, volume, number }: Damage): boolean =>
    file === "head" ? number === head.generation : file === "index" && number === current.get(toHex(volume));
  const found = said.filter((each) => !isRead(each));
  const waits = ({ file, what }: Damage): boolean => file === "dead" && what === "leftover";
  const readme = found.find((each) => each.file === "readme" && !isDamage(each));
  return {
    damaged: found.filter(isDamage),
    extras: found.filter(({ what }) => what === "extra"),
    leftovers: found.filter(
      (each) => !isDamage(each) && each.what !== "extra" && each.file !== "readme" && !waits(each),
    ),
    readme: readme && (readme.what === "missing" ? "missing" : "other"),
    waiting: found.filter(waits).length,
  };
}

/** What a repair can take away by a dead list. */
export interface Spoil {
  /** All older heads, with the indexes that only they name. */
  readonly heads: boolean;
  /** Files and chunks that nothing names, or that nothing needs and are damaged. */
  readonly files: readonly Damage[];
  readonly volumes: readonly CheckedVolume[];
}

const removable: ReadonlySet<Damage["file"]> = new Set(["index", "archive", "list", "manifest", "chunk"]);

/** What it is of an archive that was checked. */
export function spoilOf(rest: Rest, volumes: readonly CheckedVolume[]): Spoil {
  const ofContainers = volumes.flatMap(({ containers }) =>
    containers.flatMap(({ spares, extras }) => [
      ...extras.filter(({ what }) => what === "extra"),
      // In a tar their room becomes zeros; elsewhere they wait to be removed already.
      ...spares.filter(({ file }) => file === "chunk"),
    ]),
  );
  const indexes = rest.damaged.filter(({ file }) => file === "index");
  return {
    heads: indexes.length > 0 || rest.damaged.some(({ file }) => file === "head"),
    files: [...ofContainers, ...rest.extras, ...indexes].filter(({ file }) => removable.has(file)),
    volumes,
  };
}

export function isNothing({ heads, files }: Spoil): boolean {
  return !heads && files.length === 0;
}

/** What stays as it is, whatever a repair does: the command is told to say what to do. */
export function staysDamaged(rest: Rest, volumes: readonly CheckedVolume[]): boolean {
  const byHand: ReadonlySet<Damage["file"]> = new Set(["readme", "lock", "trash", "dead"]);
  return (
    rest.damaged.some(({ file }) => byHand.has(file)) ||
    volumes.some(({ containers }) =>
      containers.some(({ container, spares }) =>
        spares.some(({ file }) => container.form === "tar" && file !== "chunk"),
      ),
    )
  );
}

/** The dead list that takes it away, for the step to head `generation`. */
export function deadOf(
  open: OpenArchive,
  { files, volumes }: Spoil,
  older: OldHeads,
  generation: Generation,
): Omit<DeadFile, "archive" | "generation" | "createdAt"> {
  const numbers = (all: readonly Damage[]): readonly Generation[] =>
    [...new Set(all.map((each) => each.number as Generation))]
      .filter((each) => each < generation)
      .sort((a, b) => a - b);
  const ofKind = (kind: Damage["file"], among: readonly Damage[]): readonly Damage[] =>
    among.filter(({ file }) => file === kind);
  const dead = open.head.volumes.flatMap(({ volume, directory, indexGeneration }): readonly DeadVolume[] => {
    const own = files.filter((each) => equalBytes(each.volume, volume));
    const known = older.indexes.get(toHex(volume)) ?? [];
    const indexes = [...new Set([...known, ...numbers(ofKind("index", own))])]
      .filter((each) => each !== indexGeneration)
      .sort((a, b) => a - b);
    const index = volumes.find((each) => equalBytes(each.volume.index.volume, volume))?.volume.index;
    const containers = (index?.containers ?? []).flatMap(({ uid, name, form }): readonly DeadContainer[] => {
      const of = own.filter((each) => equalBytes(each.session, uid));
      const manifests = numbers(ofKind("manifest", of));
      const lists = numbers(ofKind("list", of));
      const chunks = runsOf(ofKind("chunk", of));
      if (manifests.length + lists.length + chunks.length === 0) return [];
      return [{ uid, name, form, whole: false, manifests, lists, chunks }];
    });
    if (indexes.length + containers.length === 0) return [];
    return [{ volume, directory, removed: false, indexes, containers }];
  });
  const archives = numbers(ofKind("archive", files)).filter((each) => each !== open.head.archiveGeneration);
  return { volumes: dead, headsBelow: older.headsBelow, archives };
}

function runsOf(chunks: readonly Damage[]): readonly ChunkRun[] {
  const addresses = [...new Set(chunks.map((each) => each.number as ChunkAddress))];
  return addresses.sort((a, b) => a - b).map((address) => ({ address, count: 1 }));
}
