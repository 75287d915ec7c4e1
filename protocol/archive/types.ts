// The branded types of the archive: a number or a byte array that has been checked to be what its name says.

import { type Codec, fixedBytes, only, u32, u64 } from "../wire/codec.ts";

declare const brand: unique symbol;
type Branded<Base, Name extends string> = Base & { readonly [brand]: Name };

/** SHA-256 of something, 32 bytes. */
export type Digest = Branded<Uint8Array, "Digest">;
/** Name of a chunk's plaintext: HMAC-SHA-256 under its group's id key, 32 bytes. All zero stands for a hole. */
export type ChunkId = Branded<Uint8Array, "ChunkId">;
/** HMAC-SHA-256 under one of dom0's metadata keys, 32 bytes. */
export type Mac = Branded<Uint8Array, "Mac">;
/** Random identity of an archive, 16 bytes. */
export type ArchiveUuid = Branded<Uint8Array, "ArchiveUuid">;
/** Random identity of a volume within its archive, 16 bytes; all zero where a structure belongs to no volume. */
export type VolumeId = Branded<Uint8Array, "VolumeId">;
/** Random identity of a session, 16 bytes. */
export type SessionUid = Branded<Uint8Array, "SessionUid">;
/** Random identity of a group of volumes that share chunks, 16 bytes. */
export type GroupId = Branded<Uint8Array, "GroupId">;
/** Byte offset of a chunk in its volume: a multiple of the chunk size, at most 2^53−1. */
export type ChunkAddress = Branded<number, "ChunkAddress">;
/** Number of a head: 0 before the archive exists, then one more with each commit. */
export type Generation = Branded<number, "Generation">;
/** `S_YYYYMMDD-HHMMSS`, UTC. A label, unique within its volume; identity is the SessionUid. */
export type SessionName = Branded<string, "SessionName">;

export const digestBytes = 32;
export const uidBytes = 16;

export const digest: Codec<Digest> = fixedBytes<Digest>(digestBytes);
export const chunkId: Codec<ChunkId> = fixedBytes<ChunkId>(digestBytes);
export const mac: Codec<Mac> = fixedBytes<Mac>(digestBytes);
export const archiveUuid: Codec<ArchiveUuid> = fixedBytes<ArchiveUuid>(uidBytes);
export const volumeId: Codec<VolumeId> = fixedBytes<VolumeId>(uidBytes);
export const sessionUid: Codec<SessionUid> = fixedBytes<SessionUid>(uidBytes);
export const groupId: Codec<GroupId> = fixedBytes<GroupId>(uidBytes);
export const generation: Codec<Generation> = u64 as Codec<Generation>;
/** Smallest and largest chunk, in bytes; the size is a power of two between them. */
export const minChunkSize: number = 64 * 1024;
export const maxChunkSize: number = 4 * 1024 * 1024;
export const defaultChunkSize: number = 128 * 1024;

/** True for the chunk sizes that an archive may have. */
export function isChunkSize(bytes: number): boolean {
  return bytes >= minChunkSize && bytes <= maxChunkSize && Number.isInteger(Math.log2(bytes));
}

export const chunkSizeField: Codec<number> = only(u32, isChunkSize, "a power of two from 64 KiB to 4 MiB");

/** Largest stored form of a chunk of `chunkSize` bytes: what zstd may need for incompressible data (its own bound),
 *  and 128 bytes for the sealing around it. */
export function maxStoredLength(chunkSize: number): number {
  return chunkSize + Math.ceil(chunkSize / 256) + 64 + 128;
}

/** Address of a chunk in an archive whose chunk size is not known here: a multiple of the smallest. */
export const chunkAddress: Codec<ChunkAddress> = only(
  u64,
  (n) => n % minChunkSize === 0,
  "a multiple of 64 KiB",
) as Codec<ChunkAddress>;

/** The last millisecond of the year 9999: no time is later, so that every time has a date of four-digit years. */
export const maxTime: number = 253_402_300_799_999;

/** Milliseconds since 1970, UTC. */
export const time: Codec<number> = only(u64, (n) => n <= maxTime, "a time before the year 10000");

/** No structure describes a volume above this: 2^50 bytes, a pebibyte. */
export const maxVolumeSize: number = 2 ** 50;

/** Size of a volume in bytes. */
export const volumeSize: Codec<number> = only(u64, (n) => n <= maxVolumeSize, "at most 2^50 bytes");
