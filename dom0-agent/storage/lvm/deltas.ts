// From what thin_delta says to what a volume's backup has to look at. thin_delta walks both mappings in full; a reader
// of the metadata's B-trees would cost only what changed (facts of LVM thin) and would come in as another
// MetadataReader.

import { startPiped } from "../../tools.ts";
import type { Extent } from "../../delta/extent.ts";
import { type DeltaSource, type Snapshot, StorageError } from "../storage.ts";
import { type DeltaExtent, deltaParser } from "./thin-delta.ts";

/** Reads the metadata while it is held. */
export interface MetadataReader {
  /** All stretches that are mapped in one of two thin devices or both, in rising order, in multiples of the pool's chunks
   *  and maybe past the volumes' ends. Throws StorageError `tool` when the answer is not complete. */
  compare(left: number, right: number): AsyncIterable<DeltaExtent>;
}

/** Deltas by `reader`. `check` throws unless a snapshot is what it was said to be: thin ids are handed out again. */
export function deltaSource(reader: MetadataReader, check: (snapshot: Snapshot) => void): DeltaSource {
  return {
    between: async function* (from, to) {
      check(from);
      check(to);
      yield* merged(changedBetween(reader.compare(from.thinId, to.thinId), from.size), to.size);
    },
    mapped: async function* (of) {
      check(of);
      // A device differs in nothing from itself: all that is mapped is `same`.
      yield* merged(reader.compare(of.thinId, of.thinId), of.size);
    },
  };
}

/** What is the same on both sides counts beyond the smaller end only: it was mapped there all along, and the volume
 *  grew over it. */
export async function* changedBetween(
  extents: AsyncIterable<DeltaExtent>,
  fromSize: number,
): AsyncGenerator<Extent> {
  for await (const { kind, offset, length } of extents) {
    const start = kind === "same" ? Math.max(offset, fromSize) : offset;
    if (start < offset + length) yield { offset: start, length: offset + length - start };
  }
}

/** Neighbouring stretches as one, clamped to `size` bytes. They must rise; the source is read to its end, where it says
 *  whether it was complete. */
export async function* merged(extents: AsyncIterable<Extent>, size: number): AsyncGenerator<Extent> {
  let current: { offset: number; length: number } | undefined;
  for await (const { offset, length } of extents) {
    const clamped = Math.min(length, size - offset);
    if (clamped <= 0) continue;
    if (current !== undefined && current.offset + current.length === offset) current.length += clamped;
    else {
      if (current !== undefined) yield current;
      current = { offset, length: clamped };
    }
  }
  if (current !== undefined) yield current;
}

/** thin_delta on the metadata device. It reads past the page cache, which does not see what the kernel writes. */
export function thinDelta(
  metadataDevice: string,
  poolChunkSize: number,
  signal: AbortSignal,
): MetadataReader {
  const compare = async function* (left: number, right: number): AsyncGenerator<DeltaExtent> {
    signal.throwIfAborted();
    const args = ["-m", "--snap1", String(left), "--snap2", String(right), metadataDevice];
    const child = startPiped("thin_delta", args);
    const kill = (): void => void child.kill("SIGKILL");
    signal.addEventListener("abort", kill, { once: true });
    child.stdin.on("error", () => undefined).end();
    let complaint = "";
    child.stderr.on("data", (bytes: Buffer) => {
      // On errors it prints its usage behind the message.
      if (complaint.length < 1000) complaint += bytes.toString("latin1");
    });
    const parser = deltaParser(left, right, poolChunkSize);
    try {
      for await (const bytes of child.stdout) yield* parser.push((bytes as Buffer).toString("latin1"));
      const end = await child;
      signal.throwIfAborted();
      if (end.exitCode !== 0) throw toolFailed(left, right, end, complaint);
      parser.end();
    } finally {
      signal.removeEventListener("abort", kill);
      kill();
      await child;
    }
  };
  return { compare };
}

function toolFailed(
  left: number,
  right: number,
  end: { readonly exitCode?: number | undefined; readonly signal?: string | undefined },
  complaint: string,
): StorageError {
  const missing = end.exitCode === undefined && end.signal === undefined;
  const status = missing
    ? "it could not be started"
    : end.exitCode === undefined
      ? `ended by ${end.signal}`
      : `exit status ${end.exitCode}`;
  const said = complaint.split("\n")[0]?.trim() ?? "";
  return new StorageError(
    "tool",
    `thin_delta of the thin devices ${left} and ${right}: ${status}${said === "" ? "" : `: ${said}`}`,
    missing ? "install thin-provisioning-tools (Fedora: device-mapper-persistent-data)" : undefined,
  );
}
