// --scrub: every stored byte and every file of an archive against its lists, indexes and head, without any key. What is
// damaged is said as it is found; what it costs is for `sparsebak check` to say, which knows what the chunks mean.

import type { HeadVolume } from "../../protocol/archive/head.ts";
import { indexFile } from "../../protocol/archive/names.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { isDamage } from "../../protocol/wire/messages.ts";
import { openIfDirectory } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { scrubContainer } from "../scrub/container.ts";
import { containerName, type Found, sayTo } from "../scrub/found.ts";
import { historyOf } from "../scrub/history.ts";
import { scrubRest } from "../scrub/rest.ts";
import type { Archive } from "../store/archive.ts";
import { movedOn } from "./archive-state.ts";
import { anyHeader, headOf, openChecked, orRefused, stopped } from "./checked-archive.ts";
import { AssembleError } from "./errors.ts";
import { formatAddress } from "./printable.ts";

export interface ScrubSummary {
  readonly generation: Generation;
  readonly volumes: number;
  readonly containers: number;
  readonly bytes: number;
  readonly damages: number;
  /** What is only said: nothing is the worse for it. */
  readonly remarks: number;
  /** The archive has another head by now: what a prune has removed meanwhile is no damage. */
  readonly movedOn: boolean;
  /** Containers that are hit, `volume/session`. */
  readonly hit: readonly string[];
}

export interface ScrubArchiveOptions {
  readonly path: string;
  readonly head?: Generation | undefined;
  readonly onFound: (found: Found) => void;
  /** Hears of a second copy of a file that is not there, by its path below the archive. It counts as a remark. */
  readonly onUncopied: (path: string) => void;
  readonly onProgress: (progress: { readonly bytes: number; readonly total: number }) => void;
  readonly signal: AbortSignal;
}

/** Checks the archive. Throws AssembleError `no-archive`, `corrupt-head`, `corrupt-archive` where nothing can be checked
 *  at all, `stopped`. */
export async function scrubArchive(options: ScrubArchiveOptions): Promise<ScrubSummary> {
  return orRefused(options.path, async () => scrubOpened(options));
}

async function scrubOpened(options: ScrubArchiveOptions): Promise<ScrubSummary> {
  using archive = openChecked(options.path, options.head);
  const head = headOf(archive);
  const { signal } = options;
  const hit = new Set<string>();
  let damages = 0;
  let remarks = 0;
  let bytes = 0;
  const found = (each: Found): void => {
    if (isDamage(each)) damages++;
    else remarks++;
    options.onFound(each);
  };
  const say = sayTo(found);
  const header = anyHeader(archive, head);
  if (header === undefined)
    throw new AssembleError("corrupt-archive", "archive header is lost, and so are all copies of it");
  const { chunkSize } = header;
  const volumes = head.volumes.map((volume) => ({
    volume,
    // Of the newest state the rest says it (scrubRest).
    containers: containersOf(archive, volume, options.head === undefined ? undefined : say),
  }));
  const total = volumes.flatMap((each) => each.containers).reduce((sum, each) => sum + each.storedBytes, 0);
  const onBytes = (count: number): void => {
    if (signal.aborted) throw stopped();
    bytes += count;
    options.onProgress({ bytes, total: Math.max(total, bytes) });
  };
  for (const { volume, containers } of volumes) {
    using directory = openIfDirectory(archive.root, volume.directory);
    if (directory === undefined) {
      say(volume.directory, "other", "missing", volume);
      continue;
    }
    for (const container of containers) {
      const where = `${volume.directory}/${containerName(container)}`;
      const of = { volume: volume.volume, session: container.uid };
      await scrubContainer({
        directory,
        volume: volume.volume,
        container,
        generation: head.generation,
        chunkSize,
        trash: archive.trash(),
        history: async () => historyOf(archive, onBytes),
        onDamage: (file, what, number = 0, name) => {
          if (isDamage({ file, what })) hit.add(where);
          found({ where: name === undefined ? where : `${where}/${name}`, file, what, number, ...of });
        },
        onBytes,
        signal,
      });
      if (signal.aborted) throw stopped();
    }
  }
  // An older state does not know what lies there beside it.
  if (options.head === undefined)
    await scrubRest({
      archive,
      head,
      chunkSize,
      onFound: found,
      onUncopied: (path) => {
        remarks++;
        options.onUncopied(path);
      },
      onBytes,
      signal,
    });
  if (signal.aborted) throw stopped();
  return {
    generation: head.generation,
    volumes: volumes.length,
    containers: volumes.reduce((sum, each) => sum + each.containers.length, 0),
    bytes,
    damages,
    remarks,
    movedOn: options.head === undefined && movedOn({ path: options.path, header, head }) !== undefined,
    hit: [...hit],
  };
}

function containersOf(
  archive: Archive,
  volume: HeadVolume,
  say: ReturnType<typeof sayTo> | undefined,
): ReturnType<Archive["containers"]> {
  using directory = openIfDirectory(archive.root, volume.directory);
  if (directory === undefined) return [];
  try {
    return archive.containers(volume);
  } catch (error) {
    if (!(error instanceof RefusalError)) throw error;
    const what = error.message.includes("is not there") ? "missing" : "corrupt";
    const { indexGeneration: number, volume: id } = volume;
    say?.(`${volume.directory}/${indexFile(number)}`, "index", what, { number, volume: id });
    return [];
  }
}

/** A line for people. */
export function foundLine({ where, file, what, number }: Found): string {
  return `${where}${partOf(file, number)} ${remarks[`${file} ${what}`] ?? states[what]}`;
}

/** The same for a program. */
export function foundObject({ where, file, what, number }: Found): object {
  const type = isDamage({ file, what }) ? "damage" : "remark";
  const which = file === "chunk" ? { address: number } : number === 0 ? {} : { generation: number };
  return { type, where, file, what, ...which };
}

const states: Readonly<Record<Found["what"], string>> = {
  missing: "is missing",
  corrupt: "is damaged",
  extra: "should not be there",
  leftover: "is left over from a command that was cut short",
  stale: "is damaged; no session that counts needs it",
};
const remarks: Readonly<Record<string, string>> = {
  "readme leftover": "is that of another version of this program",
  "readme missing": "is missing; the next send writes it",
  "dead leftover": "waits for its day",
  "session leftover": "is no part of the newest state: cut short, not committed, or partly removed",
};

/** What of a container it is; nothing for a file that has a place of its own. */
function partOf(file: Found["file"], number: number): string {
  switch (file) {
    case "chunk":
      return `: chunk at ${formatAddress(number)}`;
    case "list":
    case "manifest":
      return number === 0 ? `: ${file}` : `: ${file}.${number}`;
    case "header":
      return ": header";
    case "offsets":
      return ": the tar's own index";
    case "member":
      return ": something in the tar between its files";
    default:
      return "";
  }
}
