// The dialogue between agent and receiver, whole. Someone could write the other side from this file, frame.ts and
// states.ts; docs/protocol.md says the same in prose.
//
// Both sides send a preamble (frame.ts). Then:
//
//   agent                                   receiver
//   hello: who, which service, where   →
//                                      ←    hello: what it can do, the archive's head       or refused
//
//   readMeta: a head, index, manifest … →
//                                      ←    part … part, done                                or refused
//
//   listPending                        →
//                                      ←    pending … pending, done
//   discard: an uncommitted session    →
//                                      ←    done                                             or refused
//
//   put: an archive header, index, head →
//   part … part                        →
//                                      ←    done                                             or refused
//
//   beginSession                       →
//                                      ←    done                                             or refused
//   chunk … chunk (no reply for each)  →
//                                      ←    progress (also the heartbeat), checkpoint
//   put manifest, part …, put header … →
//                                      ←    done
//   endSession                         →
//                                      ←    done: synced, under its final name               or refused
//
//   commit: from head N to N+1         →
//                                      ←    committed                                        or refused
//
//   readChunks: stored forms           →
//                                      ←    stored … stored, done                            or refused
//   scrub: a container                 →
//                                      ←    damage … damage, done                            or refused
//   salvage: an uncommitted session    →
//                                      ←    data … data (the list of what is left), done     or refused
//   sweep: what is dead and due        →
//                                      ←    done                                             or refused
//
//   reveal: a read key                 →
//                                      ←    done                                             or refused
//   assemble                           →
//                                      ←    progress …, assembled                            or refused
//   goodbye                            →
//
// A killed sender looks like a clean end of its stream (facts of qrexec), so an end without goodbye is a death, and
// nothing counts that was not answered in band. `aborted` may come from the receiver at any time after its hello and
// is the last thing it says. Each request has an id, counted up from 1, which every answer repeats; frames that
// belong to a request (part, chunk) carry its id as well.

import {
  type ArchiveUuid,
  archiveUuid,
  type ChunkAddress,
  chunkAddress,
  type Digest,
  digest,
  type Generation,
  generation,
  chunkSizeField,
  maxChunkSize,
  maxStoredLength,
  minChunkSize,
  type SessionName,
  type SessionUid,
  sessionUid,
  type VolumeId,
  volumeId,
  volumeSize,
} from "../archive/types.ts";
import { directoryName, sessionName } from "../archive/names.ts";
import { utf8 } from "./writer.ts";
import {
  bool,
  type Codec,
  fixedBytes,
  list,
  oneOf,
  only,
  rest,
  struct,
  text,
  u16,
  u32,
  u64,
} from "./codec.ts";

/** The services of the receiver, one a power (design section 6). */
export const services = {
  "sparsebak.Send": 1,
  "sparsebak.Receive": 2,
  "sparsebak.Prune": 3,
  "sparsebak.Assemble": 4,
} as const;
export type Service = keyof typeof services;

/** Why a request was refused or a connection given up. What dom0 makes of each is in its exit-status table. */
export const refusals = {
  /** The mountpoint does not exist or nothing is mounted there. */
  "not-mounted": 1,
  /** The file system is mounted read-only. */
  "read-only": 2,
  "no-space": 3,
  "no-inodes": 4,
  /** The receiver's settings don't allow this caller, mountpoint or directory. */
  "not-allowed": 5,
  /** Another run holds the archive's lock. */
  busy: 6,
  /** The head is not the one that the request names. */
  stale: 7,
  /** The thing exists, and nothing is ever replaced. */
  exists: 8,
  /** The thing that was asked for is not there. Not an error by itself. */
  missing: 9,
  /** What arrived is not what was announced, or breaks the protocol. */
  malformed: 10,
  /** What is stored does not fit its own digest. */
  corrupt: 11,
  /** The file system can't do what is needed (file size, names, links). */
  unsupported: 12,
  /** Reading or writing failed in another way. */
  io: 13,
  /** A wait was too long. */
  stalled: 14,
  /** The receiver was told to stop. */
  stopped: 15,
  /** A bug. */
  internal: 16,
} as const;
export type Refusal = keyof typeof refusals;

/** Bytes of one part of an upload or download, at most. */
export const maxPartBytes: number = 1024 * 1024;
/** Bytes of a reason, at most; dom0 escapes it before it is printed. */
export const maxReasonBytes = 512;

const maxPathBytes = 1024;
// Both patterns have the flag `s`: without it `.` stops at U+2028, and what lies behind would go unlooked at.
/** Absolute path without empty, `.` or `..` parts. */
// eslint-disable-next-line no-control-regex -- control characters are what the pattern keeps out
const absolutePath = text(1024, /^(?!.*\/\.{0,2}(?:\/|$))\/[^\u0000-\u001f\u007f]+$/su);
/** Relative path of the same form; empty for the mountpoint itself. */
// eslint-disable-next-line no-control-regex -- as above
const relativePattern = /^(?!\/)(?!.*(?:^|\/)\.{0,2}(?:\/|$))[^\u0000-\u001f\u007f]*$|^$/su;
const relativePath = text(maxPathBytes, relativePattern);

/** True for a relative path without empty, `.` or `..` parts and control characters, of at most 1024 bytes. */
export function isRelativePath(value: string): boolean {
  return value.isWellFormed() && relativePattern.test(value) && utf8(value).length <= maxPathBytes;
}

export interface AgentHello {
  readonly service: Service;
  /** Where the destination must be mounted, and the archive's directory below it. */
  readonly mountpoint: string;
  readonly directory: string;
  /** The archive that dom0 knows here; zeros when it knows none. */
  readonly archive: ArchiveUuid;
}

/** What the receiver can do; bits of ReceiverHello.capabilities. */
export const capabilities = { hardLinks: 1, punchHoles: 2, caseSensitive: 4 } as const;

export interface ReceiverHello {
  readonly capabilities: number;
  /** Zeros and 0 where there is no archive. */
  readonly archive: ArchiveUuid;
  readonly generation: Generation;
  readonly headDigest: Digest;
  /** Bytes of the file system that are free for this user, and its size. */
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** Inodes, free and in all; in all 0 means that the file system does not say. */
  readonly freeInodes: number;
  readonly totalInodes: number;
}

/** What readMeta and put can name. */
export const metaKinds = {
  archive: 1,
  head: 2,
  dead: 3,
  index: 4,
  header: 5,
  manifest: 6,
  list: 7,
  /** Second copies, which can only be read. */
  headCopy: 8,
  indexCopy: 9,
} as const;
export type MetaKind = keyof typeof metaKinds;

/** A file of the archive by what it is. Fields that a kind does not need are zero. */
export interface MetaName {
  readonly kind: MetaKind;
  readonly volume: VolumeId;
  readonly session: SessionUid;
  readonly generation: Generation;
}

export interface Put {
  readonly name: MetaName;
  /** Bytes that will follow in parts. */
  readonly length: number;
  /** The digest that the file ends with. */
  readonly digest: Digest;
}

export interface Part {
  readonly bytes: Uint8Array;
}

/** An uncommitted session that lies in the archive. */
export interface Pending {
  readonly directory: string;
  readonly name: SessionName;
  readonly form: "dir" | "tar";
  /** True when it has been finished and only its head is missing. */
  readonly finished: boolean;
  readonly session: SessionUid;
}

export interface Discard {
  readonly directory: string;
  readonly session: SessionUid;
}

export interface BeginSession {
  readonly volume: VolumeId;
  /** The volume's directory, made if it is not there. */
  readonly directory: string;
  readonly session: SessionUid;
  readonly name: SessionName;
  readonly form: "dir" | "tar";
  /** The head that this session is for: the receiver's current one plus 1. */
  readonly generation: Generation;
  readonly chunkSize: number;
  readonly size: number;
}

export interface Chunk {
  readonly address: ChunkAddress;
  readonly checksum: Digest;
  /** The stored form. */
  readonly bytes: Uint8Array;
}

export interface EndSession {
  readonly session: SessionUid;
  readonly chunks: number;
  readonly storedBytes: number;
  /** The list that the agent made; the receiver's own must have the same digest. */
  readonly listDigest: Digest;
}

export interface Commit {
  /** The head that dom0 built on; refused as `stale` when it is not the receiver's. Zeros for the first. */
  readonly base: Generation;
  readonly baseDigest: Digest;
  /** The head that was put before. */
  readonly headDigest: Digest;
}

export interface Assemble {
  readonly volume: VolumeId;
  readonly session: SessionUid;
  /** Where the image goes, relative to the mountpoint; empty for the usual place. Nothing there is replaced. */
  readonly saveTo: string;
}

export interface ReadChunks {
  readonly volume: VolumeId;
  /** The container's. */
  readonly session: SessionUid;
  /** Under which the container keeps them; rising. */
  readonly addresses: readonly ChunkAddress[];
}

/** Most chunks of one readChunks. */
export const maxReadChunks = 4096;

/** A chunk's stored form; no bytes where it is not there. */
export interface Stored {
  readonly address: ChunkAddress;
  readonly bytes: Uint8Array;
}

/** A container by what it is; zeros in both for all of the archive that is in no container of the newest head. */
export interface Scrub {
  readonly volume: VolumeId;
  readonly session: SessionUid;
}

/** What can be wrong. Of a container: its files, chunks, the offsets of a tar, and `member`: headers, padding and the end
 *  of a tar. Of the archive: `session` is all of one. */
export const damagedFiles = {
  header: 1,
  manifest: 2,
  list: 3,
  chunk: 4,
  offsets: 5,
  other: 6,
  member: 7,
  head: 8,
  index: 9,
  archive: 10,
  dead: 11,
  readme: 12,
  lock: 13,
  trash: 14,
  session: 15,
} as const;
export type DamagedFile = keyof typeof damagedFiles;
/** `stale`: corrupt, and no session of the newest head needs it. `extra`: nothing names it. `leftover`: of a command that
 *  was cut short, or what waits to be removed; no damage. */
export const damages = { missing: 1, corrupt: 2, extra: 3, leftover: 4, stale: 5 } as const;
export type DamageKind = keyof typeof damages;

export interface Damage {
  readonly file: DamagedFile;
  readonly what: DamageKind;
  /** Whose it is; zeros for what is the archive's. */
  readonly volume: VolumeId;
  readonly session: SessionUid;
  /** Address of a chunk, N of a numbered file; 0 for every other. */
  readonly number: number;
}

/** False for what is only said: what nothing names, what is left over, and README.txt where it is not there, which the
 *  next send writes. */
export function isDamage({ file, what }: Pick<Damage, "file" | "what">): boolean {
  return what !== "extra" && what !== "leftover" && !(file === "readme" && what === "missing");
}

/** The uncommitted session of which a container without a session is to be made. */
export interface Salvage {
  readonly directory: string;
  readonly session: SessionUid;
}

export interface Reveal {
  /** A read key in its binary form (docs/keys.md). */
  readonly key: Uint8Array;
}

/** Bytes of a revealed key, at most. */
export const maxRevealBytes = 4096;

export interface Progress {
  /** Bytes that the receiver has dealt with in this request. Repeats when nothing moved: a heartbeat. */
  readonly bytes: number;
  readonly chunks: number;
}

export interface Checkpoint {
  /** Chunks of this session, from its first, that are synced to the medium, and the address of the last of them. */
  readonly chunks: number;
  readonly address: ChunkAddress;
}

export interface Done {
  /** Bytes that a read gave or a put took; 0 otherwise. */
  readonly bytes: number;
}

export interface Committed {
  readonly generation: Generation;
  readonly headDigest: Digest;
}

export interface Assembled {
  readonly imageDigest: Digest;
  readonly size: number;
}

export interface Refused {
  readonly code: Refusal;
  readonly reason: string;
}

export type Empty = Record<never, never>;

const form: Codec<"dir" | "tar"> = oneOf({ dir: 1, tar: 2 });
const reason: Codec<string> = text(maxReasonBytes);
const metaFields: Codec<MetaName> = struct<MetaName>({
  kind: oneOf(metaKinds),
  volume: volumeId,
  session: sessionUid,
  generation,
});
const metaName: Codec<MetaName> = only(
  metaFields,
  isCanonical,
  "zeros in the fields that its kind does not need",
);
/** What is stored is never empty. */
const stored: Codec<Uint8Array> = only(
  rest(maxStoredLength(maxChunkSize)),
  (bytes) => bytes.length > 0,
  "a byte or more",
);

/** One thing has one name: `archive`, `head` and `dead` belong to no volume, and those and `index` to no session; nor do their copies. */
function isCanonical({ kind, volume, session }: MetaName): boolean {
  const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);
  const ofArchive = kind === "archive" || kind === "head" || kind === "dead" || kind === "headCopy";
  const ofSession = !ofArchive && kind !== "index" && kind !== "indexCopy";
  return (!ofArchive || isZero(volume)) && (ofSession || isZero(session));
}

/** Everything that can be said, by name, with the type of what it carries. */
export interface Messages {
  readonly agentHello: AgentHello;
  readonly readMeta: MetaName;
  readonly listPending: Empty;
  readonly discard: Discard;
  readonly put: Put;
  readonly part: Part;
  readonly beginSession: BeginSession;
  readonly chunk: Chunk;
  readonly endSession: EndSession;
  readonly commit: Commit;
  readonly assemble: Assemble;
  readonly goodbye: Empty;
  readonly readChunks: ReadChunks;
  readonly scrub: Scrub;
  readonly salvage: Salvage;
  readonly sweep: Empty;
  readonly reveal: Reveal;
  readonly receiverHello: ReceiverHello;
  readonly pending: Pending;
  readonly progress: Progress;
  readonly checkpoint: Checkpoint;
  readonly done: Done;
  readonly committed: Committed;
  readonly assembled: Assembled;
  readonly refused: Refused;
  readonly aborted: Refused;
  readonly data: Part;
  readonly stored: Stored;
  readonly damage: Damage;
}
export type MessageName = keyof Messages;
export type Sender = "agent" | "receiver";

export interface MessageRow<Name extends MessageName> {
  readonly code: number;
  readonly from: Sender;
  /** Bytes of the largest body: checked against the frame's length before anything is buffered. */
  readonly max: number;
  /** The services that accept it; for what the receiver says, `all`. */
  readonly services: readonly Service[] | "all";
  readonly codec: Codec<Messages[Name]>;
}

const sendOnly: readonly Service[] = ["sparsebak.Send"];
const writers: readonly Service[] = ["sparsebak.Send", "sparsebak.Prune"];
const readers: readonly Service[] = [
  "sparsebak.Send",
  "sparsebak.Receive",
  "sparsebak.Prune",
  "sparsebak.Assemble",
];

/** The one table of messages: number, speaker, bound, powers and layout of each. */
export const messages: { readonly [Name in MessageName]: MessageRow<Name> } = {
  agentHello: {
    code: 1,
    from: "agent",
    max: 2100,
    services: "all",
    codec: struct<AgentHello>({
      service: oneOf(services),
      mountpoint: absolutePath,
      directory: relativePath,
      archive: archiveUuid,
    }),
  },
  readMeta: { code: 2, from: "agent", max: 64, services: readers, codec: metaName },
  listPending: { code: 3, from: "agent", max: 0, services: sendOnly, codec: struct<Empty>({}) },
  discard: {
    code: 4,
    from: "agent",
    max: 256,
    services: sendOnly,
    codec: struct<Discard>({ directory: directoryName, session: sessionUid }),
  },
  put: {
    code: 5,
    from: "agent",
    max: 128,
    services: writers,
    codec: struct<Put>({ name: metaName, length: u64, digest }),
  },
  part: {
    code: 6,
    from: "agent",
    max: maxPartBytes,
    services: writers,
    codec: struct<Part>({ bytes: rest(maxPartBytes) }),
  },
  beginSession: {
    code: 7,
    from: "agent",
    max: 512,
    services: sendOnly,
    codec: struct<BeginSession>({
      volume: volumeId,
      directory: directoryName,
      session: sessionUid,
      name: sessionName,
      form,
      generation,
      chunkSize: chunkSizeField,
      size: volumeSize,
    }),
  },
  chunk: {
    code: 8,
    from: "agent",
    max: 40 + maxStoredLength(maxChunkSize),
    services: sendOnly,
    codec: struct<Chunk>({
      address: chunkAddress,
      checksum: fixedBytes<Digest>(32),
      bytes: stored,
    }),
  },
  endSession: {
    code: 9,
    from: "agent",
    max: 64,
    services: sendOnly,
    codec: struct<EndSession>({ session: sessionUid, chunks: u64, storedBytes: u64, listDigest: digest }),
  },
  commit: {
    code: 10,
    from: "agent",
    max: 72,
    services: writers,
    codec: struct<Commit>({ base: generation, baseDigest: digest, headDigest: digest }),
  },
  assemble: {
    code: 11,
    from: "agent",
    max: 1200,
    services: ["sparsebak.Assemble"],
    codec: struct<Assemble>({ volume: volumeId, session: sessionUid, saveTo: relativePath }),
  },
  goodbye: { code: 12, from: "agent", max: 0, services: "all", codec: struct<Empty>({}) },
  readChunks: {
    code: 13,
    from: "agent",
    max: 16 + 16 + 4 + 8 * maxReadChunks,
    services: ["sparsebak.Receive"],
    codec: only(
      struct<ReadChunks>({
        volume: volumeId,
        session: sessionUid,
        addresses: list(chunkAddress, maxReadChunks),
      }),
      ({ addresses }) => addresses.every((each, i) => i === 0 || each > (addresses[i - 1] ?? 0)),
      "rising addresses",
    ),
  },
  scrub: {
    code: 14,
    from: "agent",
    max: 32,
    services: ["sparsebak.Receive"],
    codec: struct<Scrub>({ volume: volumeId, session: sessionUid }),
  },
  salvage: {
    code: 15,
    from: "agent",
    max: 256,
    services: sendOnly,
    codec: struct<Salvage>({ directory: directoryName, session: sessionUid }),
  },
  sweep: { code: 16, from: "agent", max: 0, services: ["sparsebak.Prune"], codec: struct<Empty>({}) },
  reveal: {
    code: 17,
    from: "agent",
    max: maxRevealBytes,
    services: ["sparsebak.Assemble"],
    codec: struct<Reveal>({ key: rest(maxRevealBytes) }),
  },
  receiverHello: {
    code: 128,
    from: "receiver",
    max: 96,
    services: "all",
    codec: struct<ReceiverHello>({
      capabilities: u32,
      archive: archiveUuid,
      generation,
      headDigest: digest,
      freeBytes: u64,
      totalBytes: u64,
      freeInodes: u64,
      totalInodes: u64,
    }),
  },
  pending: {
    code: 129,
    from: "receiver",
    max: 256,
    services: "all",
    codec: struct<Pending>({
      directory: directoryName,
      name: sessionName,
      form,
      finished: bool,
      session: sessionUid,
    }),
  },
  progress: {
    code: 130,
    from: "receiver",
    max: 16,
    services: "all",
    codec: struct<Progress>({ bytes: u64, chunks: u64 }),
  },
  checkpoint: {
    code: 131,
    from: "receiver",
    max: 16,
    services: "all",
    codec: struct<Checkpoint>({ chunks: u64, address: chunkAddress }),
  },
  done: { code: 132, from: "receiver", max: 8, services: "all", codec: struct<Done>({ bytes: u64 }) },
  committed: {
    code: 133,
    from: "receiver",
    max: 40,
    services: "all",
    codec: struct<Committed>({ generation, headDigest: digest }),
  },
  assembled: {
    code: 134,
    from: "receiver",
    max: 40,
    services: "all",
    codec: struct<Assembled>({ imageDigest: digest, size: volumeSize }),
  },
  refused: {
    code: 135,
    from: "receiver",
    max: 516,
    services: "all",
    codec: struct<Refused>({ code: oneOf(refusals, u16), reason }),
  },
  aborted: {
    code: 136,
    from: "receiver",
    max: 516,
    services: "all",
    codec: struct<Refused>({ code: oneOf(refusals, u16), reason }),
  },
  data: {
    code: 137,
    from: "receiver",
    max: maxPartBytes,
    services: "all",
    codec: struct<Part>({ bytes: rest(maxPartBytes) }),
  },
  stored: {
    code: 138,
    from: "receiver",
    max: 8 + maxStoredLength(maxChunkSize),
    services: "all",
    codec: struct<Stored>({ address: chunkAddress, bytes: rest(maxStoredLength(maxChunkSize)) }),
  },
  damage: {
    code: 139,
    from: "receiver",
    max: 42,
    services: "all",
    codec: only(
      struct<Damage>({
        file: oneOf(damagedFiles),
        what: oneOf(damages),
        volume: volumeId,
        session: sessionUid,
        number: u64,
      }),
      ({ file, number }) => file !== "chunk" || number % minChunkSize === 0,
      "a chunk's address, a multiple of 64 KiB",
    ),
  },
};

const byCode: ReadonlyMap<number, MessageName> = new Map(
  (Object.keys(messages) as MessageName[]).map((name) => [messages[name].code, name]),
);

/** The message of a number, or undefined. */
export function messageByCode(code: number): MessageName | undefined {
  return byCode.get(code);
}
