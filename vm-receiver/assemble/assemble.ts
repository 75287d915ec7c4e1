// Builds the disk image of one session out of an archive (design section 7), checking every byte on the way: each
// manifest and chunk by its digests, all of the map by its root. An image is published only after the last check.

import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { equalBytes } from "../../protocol/bytes.ts";
import { publicIdKey } from "../../protocol/archive/chunk-id.ts";
import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import { type MapRootBuilder, mapRootBuilder } from "../../protocol/archive/map-root.ts";
import type { Digest, SessionName, SessionUid } from "../../protocol/archive/types.ts";
import {
  checkSealed,
  movedOn,
  openArchiveState,
  readIndex,
  type StateOptions,
  type ArchiveState,
} from "./archive-state.ts";
import { startCrew } from "./crew.ts";
import { AssembleError, exitStatuses } from "./errors.ts";
import { runFlow } from "./flow.ts";
import { planJobs, slotBytes } from "./job.ts";
import { type MapStep, sessionMap } from "./map.ts";
import { checkTarget, createOutputFile, type OutputFile } from "./output-file.ts";
import { openOutputStream, type OutputStream } from "./output-stream.ts";
import { containerTable, sessionPlace } from "./places.ts";
import { readSessionHeader } from "./session-files.ts";
import { findSession, type FoundSession } from "./sessions.ts";

export { AssembleError, type AssembleErrorCode } from "./errors.ts";

/** Where the image goes: a new file, an open pipe or file, or nowhere, when only the checks are wanted. */
export type AssembleOutput =
  | { readonly kind: "file"; readonly path: string; readonly replace: boolean }
  | { readonly kind: "stream"; readonly fd: number }
  | { readonly kind: "none" };

export interface AssembleProgress {
  /** Bytes of the image that are done, of how many, and chunks that were opened. */
  readonly bytes: number;
  readonly total: number;
  readonly chunks: number;
}

export interface AssembleOptions extends StateOptions {
  /** The archive's directory; `/proc/self/fd/N` will do. */
  readonly archivePath: string;
  /** Name of the volume's directory below it. */
  readonly volumeDirectory: string;
  /** A uid, or what a person calls it: label, beginning of a label, uid in hexadecimal, tag. Else the newest. */
  readonly session?: SessionUid | string | undefined;
  readonly output: AssembleOutput;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: AssembleProgress) => void;
}

export interface Assembled {
  /** SHA-256 of the whole image, holes as zeros. */
  readonly imageDigest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly session: SessionName;
}

const maxTries = 5;
/** Shared buffers between the workers and this thread, of 1 MiB or one chunk each: 12 MiB of them, at least six. */
function makeSlots(chunkSize: number): readonly SharedArrayBuffer[] {
  const bytes = slotBytes(chunkSize);
  const count = Math.max(6, Math.floor((12 * 1024 * 1024) / bytes));
  return Array.from({ length: count }, () => new SharedArrayBuffer(bytes));
}

/** The archive and one volume of it. Throws AssembleError. */
export function openVolume(
  options: StateOptions & Pick<AssembleOptions, "archivePath" | "volumeDirectory">,
): { readonly state: ArchiveState; readonly index: VolumeIndex } {
  for (let tries = 1; ; tries++) {
    const state = openArchiveState(options.archivePath, options.volumeDirectory, options);
    checkSealed(state, options.keys !== undefined);
    options.keys?.check(state.header, state.head, options.volumeDirectory);
    try {
      return { state, index: readIndex(state, options.volumeDirectory, options) };
    } catch (error) {
      // The step to a newer head may have removed the index that this one names.
      if (tries === maxTries || movedOn(state) === undefined) throw error;
    }
  }
}

/** A failed check says so when the archive is not the one that was opened any more. */
function explained(error: unknown, state: ArchiveState): unknown {
  const known = error instanceof AssembleError && error.exitStatus === exitStatuses.integrity;
  const newer = known ? movedOn(state) : undefined;
  if (!known || newer === undefined) return error;
  const hint = `the archive went on to head ${newer} while head ${state.head?.generation} was read: try again`;
  return new AssembleError(error.code, error.message, hint, { cause: error });
}

/**
 * Builds the image. Throws AssembleError, whose code says why; then a file that was to be made is not there, and
 * nothing else is left behind either. On `signal` it throws with code `stopped`, after its threads have ended.
 */
export async function assembleVolume(options: AssembleOptions): Promise<Assembled> {
  const { output } = options;
  if (output.kind === "file") checkTarget(output.path, output.replace);
  const { state, index } = openVolume(options);
  const session = findSession(index, options.session);
  const place = sessionPlace(state, options.volumeDirectory, session.container);
  readSessionHeader(state, place, session, options.keys?.opener);
  throwIfStopped(options.signal);
  const { size } = session.record;
  const file = output.kind === "file" ? createOutputFile(output.path, size, output.replace) : undefined;
  const stream = output.kind === "stream" ? openOutputStream(output.fd) : undefined;
  try {
    const imageDigest = await build(options, { state, index, session, file, stream });
    await file?.publish();
    return { imageDigest, size, session: session.container.name };
  } finally {
    file?.discard();
    stream?.destroy();
  }
}

interface Build {
  readonly state: ArchiveState;
  readonly index: VolumeIndex;
  readonly session: FoundSession;
  readonly file: OutputFile | undefined;
  readonly stream: OutputStream | undefined;
}

/** Makes the whole image and checks the whole map; gives the image's digest. */
async function build(
  options: AssembleOptions,
  { state, index, session, file, stream }: Build,
): Promise<Digest> {
  const { size, mapRoot } = session.record;
  const { chunkSize, idSeed, uuid } = state.header;
  const keys = options.keys?.chunkKeys(index.group) ?? {
    idKey: publicIdKey(idSeed, uuid, index.group),
    sealed: undefined,
  };
  const containers = containerTable(state, options.volumeDirectory, index);
  const root = mapRootBuilder(size, chunkSize);
  const steps = sessionMap({
    state,
    directory: options.volumeDirectory,
    index,
    session,
    containers,
    opener: options.keys?.opener,
    temporaryDirectory: file === undefined ? tmpdir() : dirname(file.partPath),
  });
  const slots = makeSlots(chunkSize);
  const jobs = planJobs(counted(steps, root), { size, chunkSize }, (number) => containers.place(number));
  const crew = startCrew({
    keys,
    slots,
    outputFd: file?.fd,
    outputPath: options.output.kind === "file" ? options.output.path : "",
  });
  const stop = (): void => {
    crew.fail(stopped(options.signal));
    stream?.destroy();
  };
  options.signal.addEventListener("abort", stop);
  const hash = createHash("sha256");
  try {
    await runFlow({
      jobs,
      crew,
      slots,
      imageFd: file?.fd,
      onWritten: () => file?.beginSync(),
      signal: options.signal,
      take: (bytes) => {
        hash.update(bytes);
        return stream?.write(bytes);
      },
      onProgress: (bytes, chunks) => options.onProgress?.({ bytes, total: size, chunks }),
    });
    if (!equalBytes(root.root(), mapRoot)) {
      throw new AssembleError(
        "map-root",
        `map of the session does not have the root that its header names, ${session.container.name}: ` +
          "manifests of this or earlier sessions are not those it was made with",
      );
    }
    return new Uint8Array(hash.digest()) as Digest;
  } catch (error) {
    throwIfStopped(options.signal);
    throw explained(error, state);
  } finally {
    options.signal.removeEventListener("abort", stop);
    jobs.return();
    await crew.stop(); // before the file is closed: no thread may write to its descriptor's next owner
  }
}

/** The steps as they are, each entered into the map root as it passes. */
function* counted(steps: Iterable<MapStep>, root: MapRootBuilder): Generator<MapStep, void, undefined> {
  for (const step of steps) {
    root.add(step.entry?.kind === "chunk" ? step.entry.id : undefined, step.run);
    yield step;
  }
}

function stopped(signal: AbortSignal): AssembleError {
  return new AssembleError("stopped", "stopped before the image was complete", undefined, {
    cause: signal.reason,
  });
}

function throwIfStopped(signal: AbortSignal): void {
  if (signal.aborted) throw stopped(signal);
}
