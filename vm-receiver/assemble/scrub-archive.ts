// --scrub: every stored byte and every file of an archive against its lists, indexes and head, without any key. What is
// damaged is said as it is found; what it costs is for `sparsebak check` to say, which knows what the chunks mean.

import type { HeadVolume } from "../../protocol/archive/head.ts";
import { fileNames } from "../../protocol/archive/names.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { FormatError } from "../../protocol/errors.ts";
import type { Damage } from "../../protocol/wire/messages.ts";
import { openIfThere } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import type { Archive } from "../store/archive.ts";
import { deadGenerations, readDead } from "../store/dead-lists.ts";
import { scrubContainer } from "../store/scrub.ts";
import { anyHeader, headerIn, headOf, openChecked } from "./checked-archive.ts";
import { AssembleError } from "./errors.ts";
import { formatAddress } from "./printable.ts";

/** One thing that is wrong: where, what kind of file, and how. */
export interface Found {
  /** Below the archive: a volume's directory, a session in it, or the file itself. */
  readonly where: string;
  readonly file: string;
  readonly what: "missing" | "corrupt" | "extra";
  /** Of a chunk. */
  readonly address?: number;
}

export interface ScrubSummary {
  readonly generation: Generation;
  readonly volumes: number;
  readonly containers: number;
  readonly bytes: number;
  readonly damages: number;
  /** Containers that are hit, `volume/session`. */
  readonly hit: readonly string[];
}

export interface ScrubArchiveOptions {
  readonly path: string;
  readonly head?: Generation | undefined;
  readonly onFound: (found: Found) => void;
  readonly onProgress: (progress: { readonly bytes: number; readonly total: number }) => void;
  readonly signal: AbortSignal;
}

/** Checks the archive. Throws AssembleError `no-archive`, `corrupt-head`, `corrupt-archive` where nothing can be checked
 *  at all, `stopped`. */
export async function scrubArchive(options: ScrubArchiveOptions): Promise<ScrubSummary> {
  using archive = openChecked(options.path, options.head);
  const head = headOf(archive);
  const hit = new Set<string>();
  let damages = 0;
  let bytes = 0;
  const found = (each: Found): void => {
    damages++;
    options.onFound(each);
  };
  checkTop(archive, found);
  const header = anyHeader(archive, head);
  if (header === undefined)
    throw new AssembleError("corrupt-archive", "archive header is lost, and so are all copies of it");
  const volumes = head.volumes.map((volume) => ({
    volume,
    containers: containersOf(archive, volume, found),
  }));
  const total = volumes.flatMap((each) => each.containers).reduce((sum, each) => sum + each.storedBytes, 0);
  for (const { volume, containers } of volumes) {
    using directory = openIfThere(archive.root, volume.directory);
    if (directory === undefined) continue;
    for (const container of containers) {
      const where = `${volume.directory}/${container.name}${container.form === "tar" ? ".tar" : ""}`;
      const onDamage = ({ file, what, address }: Damage): void => {
        hit.add(where);
        found({ where, file, what, ...(file === "chunk" ? { address } : {}) });
      };
      const onBytes = (count: number): void => {
        bytes += count;
        options.onProgress({ bytes, total: Math.max(total, bytes) });
      };
      const { chunkSize } = header;
      const { signal } = options;
      const trash = archive.trash();
      const of = { directory, volume: volume.volume, container, chunkSize, trash, signal };
      await scrubContainer({ ...of, onDamage, onBytes });
      if (signal.aborted) throw new AssembleError("stopped", "stopped");
    }
  }
  return {
    generation: head.generation,
    volumes: volumes.length,
    containers: volumes.reduce((sum, each) => sum + each.containers.length, 0),
    bytes,
    damages,
    hit: [...hit],
  };
}

/** The archive's own files, and the copies of its header. */
function checkTop(archive: Archive, found: (each: Found) => void): void {
  const head = headOf(archive);
  const own = headerIn(archive.root, head).state;
  if (own !== "whole") found({ where: ".", file: "archive header", what: own });
  for (const { directory } of head.volumes) {
    using volume = openIfThere(archive.root, directory);
    if (volume === undefined) {
      found({ where: directory, file: "directory", what: "missing" });
      continue;
    }
    const copy = headerIn(volume, head).state;
    if (copy !== "whole") found({ where: directory, file: "copy of the archive header", what: copy });
  }
  for (const generation of deadGenerations(archive.root)) {
    try {
      readDead(archive.root, head.archive, generation);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      found({ where: `${fileNames.dead}/${generation}`, file: "dead list", what: "corrupt" });
    }
  }
}

function containersOf(
  archive: Archive,
  volume: HeadVolume,
  found: (each: Found) => void,
): ReturnType<Archive["containers"]> {
  using directory = openIfThere(archive.root, volume.directory);
  if (directory === undefined) return [];
  try {
    return archive.containers(volume);
  } catch (error) {
    if (!(error instanceof RefusalError)) throw error;
    const what = error.message.includes("is not there") ? "missing" : "corrupt";
    found({ where: volume.directory, file: `index.${volume.indexGeneration}`, what });
    return [];
  }
}

/** A line for people. */
export function foundLine({ where, file, what, address }: Found): string {
  const which = address === undefined ? file : `chunk at ${formatAddress(address)}`;
  const how = { missing: "is missing", corrupt: "is damaged", extra: "should not be there" }[what];
  return `${where}: ${file === "other" ? "something" : which} ${how}`;
}
