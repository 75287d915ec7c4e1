// Steps that change what indexes say and nothing else: names, tags, protection.

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import type { StepNote } from "../state/archive-record.ts";
import { takeArchiveLock } from "../state/lock.ts";
import { where } from "./archive.ts";
import { readView, type ViewedVolume } from "./archive-view.ts";
import { commitStep, nextGeneration } from "./commit-step.ts";
import type { Context } from "../context.ts";
import { openDestination } from "./destination.ts";
import { makeDirectory } from "../state/writing.ts";

/** What a volume's index says from now on. */
export interface IndexChange {
  readonly volume: ViewedVolume;
  readonly change: Partial<Pick<VolumeIndex, "name" | "sessions">>;
}

/** Commits what `decide` makes of the archive's volumes, as one step; nothing where it changes nothing. `what` is the
 *  command, for messages. */
export async function changeIndexes<Result>(
  context: Context,
  settings: ArchiveSettings,
  what: string,
  decide: (view: readonly ViewedVolume[]) => {
    readonly changes: readonly IndexChange[];
    readonly note: StepNote;
    readonly result: Result;
  },
): Promise<Result> {
  const paths = context.state.archive(settings.name);
  makeDirectory(paths.directory);
  using _lock = await takeArchiveLock(paths.lock, `${what} in ${settings.name}`);
  const open = await openDestination(context, settings, "sparsebak.Prune", async () => false);
  if (open === undefined)
    throw new AgentError("failed", `${what}: there is no archive at ${where(settings)}`, "send makes one");
  await using client = open.client;
  const { changes, note, result } = decide(await readView(open));
  if (changes.length > 0) {
    const generation = nextGeneration(open);
    await commitStep(open, {
      note,
      indexes: changes.map(({ volume: { directory, index }, change }) => ({
        directory,
        index: { ...index, ...change, generation },
      })),
    });
  }
  await client.close();
  return result;
}
