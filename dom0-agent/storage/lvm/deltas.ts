// Deltas between snapshots, by thin_delta. It walks both mappings in full; reading the metadata's B-trees ourselves
// would cost only what changed (facts of LVM thin), and would take this file's place.

import { startPiped } from "../../tools.ts";
import { type DeltaSource, type Extent, type Snapshot, StorageError } from "../storage.ts";
import { clampedExtents, type DeltaExtent, deltaParser } from "./thin-delta.ts";

export interface DeltaSettings {
  /** The pool's metadata, `/dev/mapper/VG-POOL_tmeta`. */
  readonly metadataDevice: string;
  /** Bytes. */
  readonly poolChunkSize: number;
  /** Throws unless the snapshots are what they were said to be: thin ids are handed out again. */
  readonly check: (snapshots: readonly Snapshot[]) => Promise<void>;
}

/** Deltas while the metadata snapshot is held. */
export function thinDeltas(settings: DeltaSettings, signal: AbortSignal | undefined): DeltaSource {
  const between = async function* (from: Snapshot, to: Snapshot): AsyncGenerator<Extent> {
    await settings.check([from, to]);
    const differing = async function* (): AsyncGenerator<Extent> {
      for await (const extent of runThinDelta(settings, from.thinId, to.thinId, signal)) {
        // What was mapped beyond the smaller end all along is new to the volume when it grows over it.
        if (extent.kind !== "same" || extent.offset + extent.length > from.size) yield extent;
      }
    };
    yield* clampedExtents(differing(), to.size);
  };
  const mapped = async function* (of: Snapshot): AsyncGenerator<Extent> {
    await settings.check([of]);
    // A device differs in nothing from itself: all that is mapped is `same`.
    yield* clampedExtents(runThinDelta(settings, of.thinId, of.thinId, signal), of.size);
  };
  return { between, mapped };
}

async function* runThinDelta(
  settings: DeltaSettings,
  left: number,
  right: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<DeltaExtent> {
  signal?.throwIfAborted();
  const args = ["-m", "--snap1", String(left), "--snap2", String(right), settings.metadataDevice];
  const child = startPiped("thin_delta", args);
  const kill = (): void => void child.kill("SIGKILL");
  signal?.addEventListener("abort", kill, { once: true });
  child.stdin.end();
  let complaint = "";
  child.stderr.on("data", (bytes: Buffer) => {
    // On errors it prints its usage behind the message.
    if (complaint.length < 1000) complaint += bytes.toString("latin1");
  });
  const parser = deltaParser(left, right, settings.poolChunkSize);
  try {
    for await (const bytes of child.stdout) yield* parser.push((bytes as Buffer).toString("latin1"));
    const end = await child;
    signal?.throwIfAborted();
    if (end.exitCode !== 0) {
      const why = complaint.split("\n")[0]?.trim() ?? "";
      throw new StorageError(
        "tool",
        `thin_delta of devices ${left} and ${right}: exit status ${end.exitCode ?? "none"}: ${why}`,
      );
    }
    parser.end();
  } finally {
    signal?.removeEventListener("abort", kill);
    kill();
    await child;
  }
}
