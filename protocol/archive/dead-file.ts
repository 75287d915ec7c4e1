// `dead/N`: what the step to head N no longer needs. Written before that head, carried out by the receiver once it is
// due, and never what makes anything dead: a receiver removes nothing of it that the current head still names (design
// section 7).

import { FormatError } from "../errors.ts";
import { bool, type Codec, decode, encode, list, oneOf, only, struct, u32 } from "../wire/codec.ts";
import { directoryName, sessionName } from "./names.ts";
import { decodeFile, encodeFile, noVolume, plainPrefix } from "./prefix.ts";
import { maxVolumes } from "./head.ts";
import { maxSessions } from "./index-file.ts";
import {
  type ArchiveUuid,
  type ChunkAddress,
  chunkAddress,
  type Generation,
  generation,
  minChunkSize,
  type SessionName,
  type SessionUid,
  sessionUid,
  time,
  type VolumeId,
  volumeId,
} from "./types.ts";

/** Chunks that a container stores one after another, the archive's chunk size apart. */
export interface ChunkRun {
  readonly address: ChunkAddress;
  /** Chunks, 1 or more. */
  readonly count: number;
}

/** What goes of one container. */
export interface DeadContainer {
  readonly uid: SessionUid;
  readonly name: SessionName;
  readonly form: "dir" | "tar";
  /** All of it goes; then the lists below are empty. */
  readonly whole: boolean;
  readonly manifests: readonly Generation[];
  /** 0 stands for `list`. */
  readonly lists: readonly Generation[];
  /** In rising order, disjoint. Every chunk of a run is stored in the container. */
  readonly chunks: readonly ChunkRun[];
}

export interface DeadVolume {
  readonly volume: VolumeId;
  readonly directory: string;
  /** The whole directory goes; then the lists below are empty. */
  readonly removed: boolean;
  /** `index.N` that go. */
  readonly indexes: readonly Generation[];
  readonly containers: readonly DeadContainer[];
}

export interface DeadFile {
  readonly archive: ArchiveUuid;
  /** The head that this was written for. */
  readonly generation: Generation;
  /** Milliseconds since 1970, by dom0's clock: the trash time counts from here. */
  readonly createdAt: number;
  /** Sorted by volume id. */
  readonly volumes: readonly DeadVolume[];
  /** `heads/K` with K below this go; 0: none. */
  readonly headsBelow: Generation;
  /** `archive` files that go, by generation; 0 stands for the first. */
  readonly archives: readonly Generation[];
}

/** Bytes of the largest dead file; a prune of more is done in several steps. */
export const maxDeadBytes: number = 64 * 1024 * 1024;
const maxFiles = 1_048_576;
const maxRuns = 4_194_304;

const run: Codec<ChunkRun> = struct<ChunkRun>({
  address: chunkAddress,
  count: only(u32, (n) => n >= 1, "1 or more"),
});
const generations = list(generation, maxFiles);
const container: Codec<DeadContainer> = struct<DeadContainer>({
  uid: sessionUid,
  name: sessionName,
  form: oneOf({ dir: 1, tar: 2 }),
  whole: bool,
  manifests: generations,
  lists: generations,
  chunks: list(run, maxRuns),
});
const deadVolume: Codec<DeadVolume> = struct<DeadVolume>({
  volume: volumeId,
  directory: directoryName,
  removed: bool,
  indexes: generations,
  containers: list(container, maxSessions),
});
type Body = Omit<DeadFile, "archive" | "generation">;
const body: Codec<Body> = struct<Body>({
  createdAt: time,
  volumes: list(deadVolume, maxVolumes),
  headsBelow: generation,
  archives: generations,
});

/** Runs of chunks, however they are kept: an array, for one. */
export interface Runs {
  readonly length: number;
  at(i: number): ChunkRun | undefined;
}

/** True where one of the runs, which rise, holds the address. */
export function isInRuns(runs: Runs, address: number, chunkSize: number): boolean {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const middlemost = runs.at(middle);
    if (middlemost !== undefined && middlemost.address + middlemost.count * chunkSize <= address)
      low = middle + 1;
    else high = middle;
  }
  const found = runs.at(low);
  return found !== undefined && found.address <= address;
}

/** The bytes of `dead/N`; FormatError `too-long` where it must be made in several steps. */
export function encodeDead(dead: DeadFile): Uint8Array {
  check(dead);
  const bytes = encodeFile(plainPrefix("dead", dead.archive, noVolume, dead.generation), encode(body, dead));
  if (bytes.length > maxDeadBytes)
    throw new FormatError("too-long", `write dead list: more than ${maxDeadBytes} bytes`);
  return bytes;
}

/** Reads `dead/N`; throws FormatError. */
export function decodeDead(
  untrusted: Uint8Array,
  expected: { readonly archive?: ArchiveUuid; readonly generation?: Generation } = {},
): DeadFile {
  const file = decodeFile(untrusted, { kind: "dead", volume: noVolume, ...expected });
  const { archive, generation: at } = file.prefix;
  const dead: DeadFile = { ...decode(body, file.body, "dead list"), archive, generation: at };
  check(dead);
  return dead;
}

function check(dead: DeadFile): void {
  const wrong = (code: "bad-value" | "bad-order", what: string): never => {
    throw new FormatError(code, `read dead list ${dead.generation}: ${what}`);
  };
  if (dead.generation < 1) wrong("bad-value", "of a generation before the first");
  if (dead.headsBelow > dead.generation) wrong("bad-value", `heads below ${dead.headsBelow} go`);
  const beforeThis = (all: readonly Generation[]): boolean =>
    all.every((each, i) => each < dead.generation && (i === 0 || each > (all[i - 1] ?? 0)));
  if (!beforeThis(dead.archives)) wrong("bad-order", "archive headers that can't be");
  let last = "";
  for (const volume of dead.volumes) {
    const id = Buffer.from(volume.volume).toString("hex");
    if (id <= last) wrong("bad-order", "volumes out of order");
    last = id;
    if (volume.removed && volume.indexes.length + volume.containers.length > 0)
      wrong("bad-value", "a directory that goes, and files of it besides");
    if (!beforeThis(volume.indexes)) wrong("bad-order", "indexes that can't be");
    const seen = new Set<string>();
    for (const each of volume.containers) {
      seen.add(Buffer.from(each.uid).toString("hex"));
      const parts = each.manifests.length + each.lists.length + each.chunks.length;
      if (each.whole === parts > 0) wrong("bad-value", "a container of which nothing goes, or twice");
      if (!beforeThis(each.manifests) || !beforeThis(each.lists)) wrong("bad-order", "files that can't be");
      // The archive's chunk size is not known here: runs are at least so many bytes apart.
      let next = 0;
      for (const { address, count } of each.chunks) {
        if (address < next) wrong("bad-order", "chunks out of order");
        next = address + count * minChunkSize;
      }
    }
    if (seen.size !== volume.containers.length) wrong("bad-value", "a container is named twice");
  }
}
