// `index.N`: what a volume consists of as of head N. A plain part says which files its directory must hold, for
// whoever has no key; the other part, sealed where the archive is, says what they mean (design section 7).

import { FormatError } from "../errors.ts";
import { bool, type Codec, decode, encode, list, oneOf, struct, text, u64 } from "../wire/codec.ts";
import { byteReader } from "../wire/reader.ts";
import { sessionName, volumeName } from "./names.ts";
import { decodeFile, type FilePrefix } from "./prefix.ts";
import { type BodyOpener, type BodySealer, encodeSealable, openBody } from "./sealed-body.ts";
import {
  type ArchiveUuid,
  type Digest,
  digest,
  type Generation,
  generation,
  type GroupId,
  groupId,
  type SessionName,
  type SessionUid,
  sessionUid,
  time,
  type VolumeId,
  volumeSize,
} from "./types.ts";

/** One session's files, by which a reader without keys can tell whether any is missing or rotten. */
export interface Container {
  readonly uid: SessionUid;
  readonly name: SessionName;
  readonly form: "dir" | "tar";
  /** Zeros where it never had a session: chunks that an interrupted send has left. */
  readonly headerDigest: Digest;
  /** `list.N` that counts; 0 for `list`, as it was written first. */
  readonly listGeneration: Generation;
  readonly listDigest: Digest;
  /** `manifest.N` that counts, and its digest; generation 0 and zeros where the session was pruned and only
   *  living chunks are left. */
  readonly manifestGeneration: Generation;
  readonly manifestDigest: Digest;
  readonly chunks: number;
  /** Bytes of the stored chunks. */
  readonly storedBytes: number;
}

/** How the data of a session was taken: of a volume that nothing wrote to; of a running VM's volume by an atomic
 *  snapshot; of a running VM's volume as of its last start; of a file that did not change while it was read. */
export const consistencies = { clean: 1, crash: 2, committed: 3, file: 4 } as const;
export type Consistency = keyof typeof consistencies;

/** What a session is; its files are the container of the same uid. */
export interface SessionRecord {
  readonly uid: SessionUid;
  /** Orders the sessions of the volume: larger is later, whatever the clock said. */
  readonly sequence: number;
  /** Milliseconds since 1970, by dom0's clock, when the snapshot was taken. */
  readonly takenAt: number;
  /** Bytes of the volume. */
  readonly size: number;
  readonly mapRoot: Digest;
  readonly consistency: Consistency;
  readonly protected: boolean;
  readonly tags: readonly string[];
}

export interface VolumeIndex {
  readonly archive: ArchiveUuid;
  readonly volume: VolumeId;
  readonly generation: Generation;
  readonly containers: readonly Container[];
  readonly name: string;
  readonly group: GroupId;
  /** In the order of their sequence. Each has a container; a container without a session was pruned. */
  readonly sessions: readonly SessionRecord[];
}

export const maxSessions = 262_144;
export const maxTags = 16;
/** Bytes of the largest index: 64 MiB, some 180 000 sessions. */
export const maxIndexBytes: number = 64 * 1024 * 1024;

const container: Codec<Container> = struct<Container>({
  uid: sessionUid,
  name: sessionName,
  form: oneOf({ dir: 1, tar: 2 }),
  headerDigest: digest,
  listGeneration: generation,
  listDigest: digest,
  manifestGeneration: generation,
  manifestDigest: digest,
  chunks: u64,
  storedBytes: u64,
});
/** A tag: 1 to 64 letters, digits and `._+-`. */
export const tag: Codec<string> = text(64, /^[A-Za-z0-9._+-]+$/);
const record: Codec<SessionRecord> = struct<SessionRecord>({
  uid: sessionUid,
  sequence: u64,
  takenAt: time,
  size: volumeSize,
  mapRoot: digest,
  consistency: oneOf(consistencies),
  protected: bool,
  tags: list(tag, maxTags),
});
/** What stays readable for whoever has no key. */
const publicPart: Codec<readonly Container[]> = list(container, maxSessions);
type Body = Pick<VolumeIndex, "name" | "group" | "sessions">;
const body: Codec<Body> = struct<Body>({
  name: volumeName,
  group: groupId,
  sessions: list(record, maxSessions),
});

/** Which index a reader asked for. */
export interface ExpectedIndex {
  readonly archive?: ArchiveUuid;
  readonly volume?: VolumeId;
  readonly generation?: Generation;
}

/** The bytes of `index.N`; what is not public is sealed where there is a `sealer`. */
export function encodeIndex(index: VolumeIndex, sealer?: BodySealer): Uint8Array {
  checkContainers(index);
  checkSessions(index);
  const { archive, volume, generation: at } = index;
  const of = { kind: "index", archive, volume, generation: at } as const;
  const bytes = encodeSealable(of, encode(publicPart, index.containers), encode(body, index), sealer);
  if (bytes.length > maxIndexBytes)
    throw new FormatError("too-long", `write index: more than ${maxIndexBytes} bytes`);
  return bytes;
}

/** Reads `index.N`; throws FormatError. `opener` belongs to a sealed archive. */
export function decodeIndex(
  untrusted: Uint8Array,
  expected: ExpectedIndex = {},
  opener?: BodyOpener,
): VolumeIndex {
  const file = decodePublic(untrusted, expected);
  const plaintext = openBody(file.prefix, file.publicBytes, file.rest, opener);
  const index: VolumeIndex = { ...file.index, ...decode(body, plaintext, "index") };
  checkSessions(index);
  return index;
}

/** What an index says without any key: whose it is, and which containers there are. */
export type PublicIndex = Pick<VolumeIndex, "archive" | "volume" | "generation" | "containers">;

/** Reads the public part of `index.N`, sealed or not; throws FormatError. */
export function decodeIndexContainers(untrusted: Uint8Array, expected: ExpectedIndex = {}): PublicIndex {
  const { prefix, index, rest } = decodePublic(untrusted, expected);
  // What can be checked is.
  if (prefix.protection === "plain") checkSessions({ ...index, ...decode(body, rest, "index") });
  return index;
}

function decodePublic(
  untrusted: Uint8Array,
  expected: ExpectedIndex,
): {
  readonly prefix: FilePrefix;
  readonly index: PublicIndex;
  readonly publicBytes: Uint8Array;
  readonly rest: Uint8Array;
} {
  const file = decodeFile(untrusted, { kind: "index", ...expected });
  const reader = byteReader(file.body, "index");
  const containers = publicPart.read(reader, "index.containers");
  const split = file.body.length - reader.left();
  const { archive, volume, generation: at } = file.prefix;
  const index = { archive, volume, generation: at, containers };
  checkContainers(index);
  return {
    prefix: file.prefix,
    index,
    publicBytes: file.body.subarray(0, split),
    rest: file.body.subarray(split),
  };
}

function checkContainers(index: PublicIndex): void {
  if (index.generation < 1)
    throw new FormatError("bad-value", "read index: of a generation before the first");
  const uids = new Set<string>();
  const names = new Set<string>();
  for (const each of index.containers) {
    uids.add(hexKey(each.uid));
    names.add(each.name);
    if (each.manifestGeneration === 0 && each.manifestDigest.some((byte) => byte !== 0)) {
      throw new FormatError("bad-value", `read index ${index.generation}: a digest of no manifest`);
    }
    const newest = Math.max(each.manifestGeneration, each.listGeneration);
    if (newest > index.generation) {
      throw new FormatError("bad-value", `read index ${index.generation}: a manifest or list of ${newest}`);
    }
    if (each.manifestGeneration !== 0 && each.headerDigest.every((byte) => byte === 0)) {
      throw new FormatError("bad-value", `read index ${index.generation}: a manifest without a header`);
    }
  }
  if (uids.size !== index.containers.length || names.size !== index.containers.length) {
    throw new FormatError("bad-value", `read index ${index.generation}: a session is named twice`);
  }
}

function checkSessions(index: VolumeIndex): void {
  const containers = new Map(index.containers.map((each) => [hexKey(each.uid), each]));
  const sessions = new Set(index.sessions.map((each) => hexKey(each.uid)));
  if (sessions.size !== index.sessions.length) {
    throw new FormatError("bad-value", `read index ${index.generation}: a session is recorded twice`);
  }
  let before = 0;
  for (const each of index.sessions) {
    if (each.sequence <= before)
      throw new FormatError("bad-order", `read index ${index.generation}: sessions out of order`);
    before = each.sequence;
    const files = containers.get(hexKey(each.uid));
    if (files === undefined || files.manifestGeneration === 0) {
      throw new FormatError("bad-value", `read index ${index.generation}: a session without a manifest`);
    }
  }
}

function hexKey(uid: Uint8Array): string {
  return Buffer.from(uid.buffer, uid.byteOffset, uid.byteLength).toString("latin1");
}

const containersByUid = new WeakMap<VolumeIndex, ReadonlyMap<string, Container>>();

/** The container of a session's uid. One index is asked for many: they are sorted out the first time. */
export function containerOf(index: VolumeIndex, uid: SessionUid): Container | undefined {
  let byUid = containersByUid.get(index);
  if (byUid === undefined) {
    byUid = new Map(index.containers.map((each) => [hexKey(each.uid), each]));
    containersByUid.set(index, byUid);
  }
  return byUid.get(hexKey(uid));
}
