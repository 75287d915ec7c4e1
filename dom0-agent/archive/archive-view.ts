// All volumes of an archive as of its current head, each with its verified index: what commands that look for volumes
// by name, or at chunks across volumes, work on.

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import { type OpenArchive, readIndex } from "./archive.ts";
import { matchNames } from "./match-names.ts";

export interface ViewedVolume {
  readonly directory: string;
  readonly index: VolumeIndex;
}

/** Every volume, those without sessions as well: they hold chunks that others need. */
export async function readView(open: OpenArchive): Promise<readonly ViewedVolume[]> {
  const view: ViewedVolume[] = [];
  for (const { volume, directory } of open.head.volumes) {
    const index = await readIndex(open, volume);
    if (index !== undefined) view.push({ directory, index });
  }
  return view.sort((a, b) => (a.index.name < b.index.name ? -1 : 1));
}

/** A volume's index by its name: where dom0 knows it, else wherever the archive has it, since another host may have
 *  renamed it, or deleted it and sent it anew. Throws AgentError `failed` for a name that the archive does not have. */
export async function indexOf(open: OpenArchive, name: string): Promise<VolumeIndex> {
  const known = open.record.volumes.find((each) => each.name === name);
  const index = known && (await readIndex(open, known.id));
  if (index?.name === name && index.sessions.length > 0) return index;
  const named = (await readView(open)).filter((each) => each.index.name === name);
  const found = named.find((each) => each.index.sessions.length > 0) ?? named[0];
  if (found !== undefined) return found.index;
  throw new NoSuchVolumeError(name);
}

/** The archive has no volume of that name. */
export class NoSuchVolumeError extends AgentError {
  override readonly name: string = "NoSuchVolumeError";

  constructor(volume: string) {
    super("failed", `${volume}: the archive has no such volume`, "see sparsebak list");
  }
}

/** What a read key opens besides its volume: the chunks of the others in its group (docs/keys.md, K9). undefined where it is
 *  alone there. */
export async function alsoOpened(
  open: OpenArchive,
  { volume, group }: VolumeIndex,
): Promise<string | undefined> {
  const others = (await readView(open))
    .map(({ index }) => index)
    .filter((each) => equalBytes(each.group, group) && !equalBytes(each.volume, volume))
    .filter((each) => each.sessions.length > 0);
  if (others.length === 0) return undefined;
  return `the volume shares chunks with others, and the key opens theirs too: ${others.map((each) => each.name).join(", ")}`;
}

/** Which volumes of an archive a command works on. */
export type Selection =
  | { readonly kind: "all" }
  /** By name or pattern. */
  | { readonly kind: "named"; readonly patterns: readonly string[] }
  /** Those that the settings enable, as far as the archive has them. */
  | { readonly kind: "enabled"; readonly names: readonly string[] };

/** The volumes of a selection that have sessions. Throws AgentError `failed` for a name or pattern that finds none, and
 *  where nothing is found; `what` is the command. */
export function chooseInArchive(
  view: readonly ViewedVolume[],
  selection: Selection,
  what: string,
): readonly ViewedVolume[] {
  const shown = view.filter((each) => each.index.sessions.length > 0);
  if (selection.kind === "all") return shown;
  if (selection.kind === "enabled") {
    const found = shown.filter((each) => selection.names.includes(each.index.name));
    if (found.length > 0) return found;
    throw new AgentError(
      "failed",
      `${what}: the archive has none of the volumes that the settings enable`,
      "name volumes, or give --all",
    );
  }
  const { found, unmatched } = matchNames(
    selection.patterns,
    shown.map((each) => each.index.name),
  );
  if (unmatched.length > 0)
    throw new AgentError(
      "failed",
      `${what}: the archive has no volume ${unmatched.join(", ")}`,
      "see sparsebak list",
    );
  return found.flatMap((name) => shown.filter((each) => each.index.name === name));
}
