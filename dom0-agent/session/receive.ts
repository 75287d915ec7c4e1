// receive: restores volumes (design section 8, "Restore"): into the storage, where the restored volume takes the old one's
// place only when it is complete; through Qubes OS for a VM's own volume; or to a file or device of the user's choice.

import { join } from "node:path";
import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import { findSession } from "../restore/find-session.ts";
import { checkQubesVolume, importVolume, qubesVolumeOf } from "../restore/qubes-volume.ts";
import { crewFor, type Restored, type Work } from "../restore/restore-into.ts";
import { mappedBytes } from "../restore/mapped-bytes.ts";
import { fillTarget } from "../restore/fill-target.ts";
import { checkSavePath, openSaveTarget } from "../restore/save-target.ts";
import { sessionMap } from "../restore/session-map.ts";
import { takeLock } from "../state/lock.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { Context } from "../context.ts";
import { eachVolume, type VolumeOutcome } from "../restore/each-volume.ts";
import { restoreToStorage } from "../restore/restore-to-storage.ts";

export interface ReceiveOptions {
  /** A label, uid or tag; undefined: the newest. */
  readonly session: string | undefined;
  /** A file or block device; undefined: where the volume came from. */
  readonly saveTo: string | undefined;
  /** Write over the volume itself. */
  readonly inPlace: boolean;
  /** Compare with what is there, and write only what differs. */
  readonly sparseWrite: boolean;
  /** Begin with the volume's last snapshot where there is one, checked chunk by chunk. */
  readonly base: boolean;
  /** Replace a file that is there. */
  readonly force: boolean;
}

/** Restores volumes one after another. One run at a time. */
export async function receive(
  context: Context,
  settings: ArchiveSettings,
  volumes: readonly string[] | "all",
  options: ReceiveOptions,
): Promise<ExitReason> {
  using _lock = await takeLock(join(context.state.directory, "restore.lock"), "receive", 0);
  if (options.saveTo !== undefined)
    checkSavePath({ path: options.saveTo, force: options.force, update: options.sparseWrite });
  return await eachVolume(context, settings, "receive", volumes, async (open, index) =>
    receiveVolume(context, open, index, options),
  );
}

async function receiveVolume(
  context: Context,
  open: OpenArchive,
  index: VolumeIndex,
  options: ReceiveOptions,
): Promise<VolumeOutcome> {
  const { name } = index;
  const session = findSession(index, options.session);
  const qubes =
    options.saveTo === undefined && !options.inPlace
      ? qubesVolumeOf(context.settings.source, name)
      : undefined;
  if (qubes !== undefined) await checkQubesVolume(qubes, context.signal);
  using map = await sessionMap(open, index, session);
  await using crew = crewFor(open, index, map, `receive ${name}`, context.signal);
  const work: Work = {
    open,
    volume: name,
    map,
    crew,
    onProgress: (done, total) => context.report.progress(name, done, total),
    signal: context.signal,
  };
  let restored: Restored & { readonly target: string; readonly kept?: string | undefined };
  if (qubes !== undefined) {
    // The tools make a new volume beside the old one.
    await context.storage.restore.checkRoom((piece) => mappedBytes(map, piece));
    restored = { ...(await importVolume(work, qubes)), target: `${qubes.vm}:${qubes.volume}` };
  } else if (options.saveTo !== undefined) restored = await saveTo(context, work, options.saveTo, options);
  else restored = await restoreToStorage(context, work, options);
  const { kept, ...fields } = restored;
  const old = kept === undefined ? "" : `; the old one is kept as ${kept}`;
  return {
    message: `${session.container.name} restored to ${restored.target}${old}`,
    fields: { session: session.container.name, size: map.size, dataBytes: map.dataBytes, ...fields, kept },
    hint: undefined,
  };
}

async function saveTo(
  context: Context,
  work: Work,
  path: string,
  options: ReceiveOptions,
): Promise<Restored & { readonly target: string }> {
  const { map } = work;
  await using target = openSaveTarget({
    path,
    size: map.size,
    dataBytes: map.dataBytes,
    force: options.force,
    update: options.sparseWrite,
  });
  // Ends before the target is closed: no thread may write to its descriptor's next owner.
  await using _crew = work.crew;
  if (target.blank && options.sparseWrite)
    throw new AgentError("failed", `save to ${path}: there is nothing to compare with`);
  const compare = { chunks: Number.POSITIVE_INFINITY, onDiffering: async () => undefined };
  const restored = await fillTarget(work, target, { end: map.size, ...(options.sparseWrite && { compare }) });
  for (const notice of await target.publish(() => undefined)) context.report.notice(notice);
  return { ...restored, target: path };
}
