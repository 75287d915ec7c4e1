// diff: a volume as it is now against a session of it in the archive: byte by byte, every chunk of the archive checked on
// the way, or with `quick` by chunk ids alone, which needs no data of the archive.

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { type Bitmap, bitmap, countSet, setRange } from "../delta/bitmap.ts";
import type { ExitReason } from "../errors.ts";
import { damaged, fetchWindows, targetBytes } from "../restore/fetch.ts";
import { findSession } from "../restore/find-session.ts";
import { checkHoles, differingFromMap, setPairs } from "../restore/passes.ts";
import { planWindows, wideWindow } from "../restore/plan.ts";
import { crewFor, type Work } from "../restore/restore-into.ts";
import { sessionMap } from "../restore/session-map.ts";
import { rangesOf, rangeText } from "../restore/address-ranges.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { Context } from "../context.ts";
import { eachVolume, type VolumeOutcome } from "../restore/each-volume.ts";
import { lookLock, openLook } from "../monitor/look-snapshot.ts";

export interface DiffOptions {
  readonly session: string | undefined;
  /** By ids alone. */
  readonly quick: boolean;
  /** What each VM's last start left, not what it writes now. */
  readonly committed: boolean;
}

const mostRanges = 1000;

/** Compares volumes one after another. `failed` where any differs, if each could be compared. */
export async function diff(
  context: Context,
  settings: ArchiveSettings,
  volumes: readonly string[] | "all",
  options: DiffOptions,
): Promise<ExitReason> {
  using _lock = await lookLock(context.state, "diff");
  return await eachVolume(context, settings, "diff", volumes, async (open, index) =>
    diffVolume(context, open, index, options),
  );
}

async function diffVolume(
  context: Context,
  open: OpenArchive,
  index: VolumeIndex,
  options: DiffOptions,
): Promise<VolumeOutcome> {
  const { name } = index;
  const { signal } = context;
  const session = findSession(index, options.session);
  using map = await sessionMap(open, index, session);
  await using volume = await openLook(context, name, options);
  await using crew = crewFor(open, index, map, `diff ${name}`, signal);
  const onProgress = (done: number, total: number): void => context.report.progress(name, done, total);
  const work: Work = { open, volume: name, map, crew, onProgress, signal };
  // The chunk in which the smaller end lies has another length here than there: it differs, and all behind it.
  const { chunkSize } = map;
  const same = Math.floor(Math.min(volume.size, map.size) / chunkSize);
  const common = volume.size === map.size ? Math.ceil(map.size / chunkSize) : same;
  const differing = options.quick
    ? await differingFromMap(
        { map, crew, fd: volume.fd, onProgress: (bytes) => onProgress(bytes, map.size), signal },
        common,
      )
    : await compareBytes(work, volume.fd, common);
  await volume.checkUnchanged();
  const larger = Math.max(volume.size, map.size);
  const all = bitmap(Math.ceil(larger / chunkSize));
  all.bytes.set(differing.bytes);
  setRange(all, common, all.length);
  return outcome(context, name, session.container.name, all, {
    chunkSize,
    larger,
    map: map.size,
    volume: volume.size,
  });
}

/** Of the first `common` chunks those that differ, and all behind them. */
async function compareBytes(work: Work, fd: number, common: number): Promise<Bitmap> {
  const { map, crew, volume, signal } = work;
  const differing = bitmap(Math.ceil(map.size / map.chunkSize));
  const wanted = bitmap(differing.length);
  setRange(wanted, 0, common);
  setRange(differing, common, differing.length);
  let done = 0;
  await fetchWindows({
    client: work.open.client,
    crew,
    containers: map.containers,
    windows: planWindows(map.steps(), { ...map, windowChunks: wideWindow, wanted }),
    use: () => ({ kind: "compare", fd }),
    onBad: (fetch, why) => {
      throw damaged(volume, fetch, why);
    },
    onDone: (fetches, result) => {
      setPairs(differing, result.differing);
      done += targetBytes(fetches);
      work.onProgress(done, map.dataBytes);
    },
    signal,
  });
  const holes = await checkHoles({ crew, map, fd, wanted, fix: false, signal });
  for (const [i, byte] of holes.differing.bytes.entries())
    differing.bytes[i] = (differing.bytes[i] ?? 0) | byte;
  return differing;
}

function outcome(
  context: Context,
  volume: string,
  session: string,
  differing: Bitmap,
  sizes: {
    readonly chunkSize: number;
    readonly larger: number;
    readonly map: number;
    readonly volume: number;
  },
): VolumeOutcome {
  const fields = { session, size: sizes.volume, sessionSize: sizes.map };
  const chunks = countSet(differing);
  if (chunks === 0 && sizes.map === sizes.volume)
    return { message: `equal to ${session}`, fields: { ...fields, differingBytes: 0, ranges: [] } };
  const ranges = rangesOf(differing, sizes.chunkSize, sizes.larger, mostRanges);
  const last = sizes.larger % sizes.chunkSize;
  const short = last > 0 && isLastSet(differing) ? sizes.chunkSize - last : 0;
  const bytes = chunks * sizes.chunkSize - short;
  if (sizes.map !== sizes.volume)
    context.report.notice(`${volume}: it has ${sizes.volume} bytes, in ${session} ${sizes.map}`);
  const more = ranges.length === mostRanges ? " …" : "";
  return {
    message: `differs from ${session} in ${chunks} chunks, ${bytes} bytes: ${ranges.map(rangeText).join(" ")}${more}`,
    fields: { ...fields, differingBytes: bytes, ranges },
    reason: "differs",
  };
}

function isLastSet(map: Bitmap): boolean {
  const last = map.length - 1;
  return ((map.bytes[last >> 3] ?? 0) & (1 << (last & 7))) !== 0;
}
