// `header` of a session: what was backed up. It never changes (design section 7).

import { type Codec, decode, encode, only, oneOf, struct, u64 } from "../wire/codec.ts";
import { type Consistency, consistencies } from "./index-file.ts";
import { sessionName, volumeName } from "./names.ts";
import { decodeFile } from "./prefix.ts";
import { type BodyOpener, type BodySealer, encodeSealable, openBody } from "./sealed-body.ts";
import {
  type ArchiveUuid,
  type Digest,
  digest,
  type Generation,
  chunkSizeField,
  type SessionName,
  type SessionUid,
  sessionUid,
  time,
  type VolumeId,
  volumeSize,
} from "./types.ts";

export interface SessionHeader {
  readonly archive: ArchiveUuid;
  readonly volume: VolumeId;
  /** The head that was to be made with it. */
  readonly generation: Generation;
  readonly uid: SessionUid;
  readonly sequence: number;
  readonly name: SessionName;
  readonly volumeName: string;
  /** Milliseconds since 1970, UTC. */
  readonly takenAt: number;
  /** Bytes of the volume, from its snapshot. */
  readonly size: number;
  readonly chunkSize: number;
  readonly consistency: Consistency;
  /** Digest of the whole address → chunk id map (map-root.ts). */
  readonly mapRoot: Digest;
}

const noPublicPart = new Uint8Array(0);

/** No header is larger than this. */
export const maxSessionHeaderBytes = 4096;

type Body = Omit<SessionHeader, "archive" | "volume" | "generation">;
const body: Codec<Body> = struct<Body>({
  uid: sessionUid,
  sequence: only(u64, (n) => n >= 1, "1 or more"),
  name: sessionName,
  volumeName,
  takenAt: time,
  size: volumeSize,
  chunkSize: chunkSizeField,
  consistency: oneOf(consistencies),
  mapRoot: digest,
});

/** The bytes of `header`, sealed where there is a `sealer`. */
export function encodeSessionHeader(header: SessionHeader, sealer?: BodySealer): Uint8Array {
  return encodeSealable({ kind: "header", ...header }, noPublicPart, encode(body, header), sealer);
}

/** Reads `header`; throws FormatError. `opener` belongs to a sealed archive. */
export function decodeSessionHeader(
  untrusted: Uint8Array,
  expected: { readonly archive?: ArchiveUuid; readonly volume?: VolumeId } = {},
  opener?: BodyOpener,
): SessionHeader {
  const file = decodeFile(untrusted, { kind: "header", ...expected });
  const { archive, volume, generation } = file.prefix;
  const plaintext = openBody(file.prefix, noPublicPart, file.body, opener);
  return { ...decode(body, plaintext, "session header"), archive, volume, generation };
}
