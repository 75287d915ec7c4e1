// How each structure of the archive is read whole and written again, in one table, so that vectors, round trips and
// mutations run the same code over all of them.

import { createHash } from "node:crypto";
import { equalBytes, fromHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import {
  type ArchiveHeader,
  decodeArchiveHeader,
  encodeArchiveHeader,
} from "../../protocol/archive/archive-header.ts";
import { type DeadFile, decodeDead, encodeDead } from "../../protocol/archive/dead-file.ts";
import { decodeHead, encodeHead, type Head } from "../../protocol/archive/head.ts";
import { decodeIndex, encodeIndex, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import {
  decodeList,
  type ListEntry,
  listBuilder,
  type ListIdentity,
} from "../../protocol/archive/list-file.ts";
import {
  decodeManifestHead,
  encodeManifestHead,
  encodeRecord,
  type ManifestEntry,
  type ManifestHead,
  recordBytes,
  recordReader,
} from "../../protocol/archive/manifest.ts";
import {
  decodePrefix,
  encodePrefix,
  expectPrefix,
  fileDigest,
  type FilePrefix,
  prefixBytes,
  sha256,
} from "../../protocol/archive/prefix.ts";
import {
  decodeSessionHeader,
  encodeSessionHeader,
  type SessionHeader,
} from "../../protocol/archive/session-header.ts";
import {
  decodeOffsetRecord,
  decodeOffsetsFooter,
  decodeOffsetsHead,
  encodeOffsetRecord,
  footerBytes,
  offsetRecordBytes,
  type OffsetRecord,
  offsetsBuilder,
  type OffsetsFooter,
  offsetsHeadBytes,
} from "../../protocol/archive/tar-layout.ts";
import type { ArchiveUuid, Generation, SessionUid, VolumeId } from "../../protocol/archive/types.ts";

export interface Structure<T> {
  readonly decode: (bytes: Uint8Array, given: Given) => T;
  readonly encode: (value: T) => Uint8Array;
}
export type Given = Readonly<Record<string, string>>;

/** What a reader expects, from a vector's `given` lines. */
function expectation(given: Given): Partial<ListIdentity> {
  const bytes = <T>(key: string): T | undefined =>
    given[key] === undefined ? undefined : (fromHex(given[key]) as T);
  return {
    ...(given["archive"] === undefined ? {} : { archive: bytes<ArchiveUuid>("archive")! }),
    ...(given["volume"] === undefined ? {} : { volume: bytes<VolumeId>("volume")! }),
    ...(given["session"] === undefined ? {} : { session: bytes<SessionUid>("session")! }),
    ...(given["generation"] === undefined ? {} : { generation: Number(given["generation"]) as Generation }),
  };
}

/** The parts, and the SHA-256 of them all. */
export function closed(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(Buffer.concat(parts));
  return new Uint8Array(Buffer.concat([bytes, sha256(bytes)]));
}

function checkDigest(bytes: Uint8Array, what: string): void {
  const stated = bytes.subarray(-32);
  if (!equalBytes(createHash("sha256").update(bytes.subarray(0, -32)).digest(), stated)) {
    throw new FormatError("bad-digest", `read ${what}: its digest does not fit its bytes`);
  }
}

export interface WholeManifest extends ManifestHead {
  readonly archive: ArchiveUuid;
  readonly volume: VolumeId;
  readonly generation: Generation;
  readonly entries: readonly ManifestEntry[];
}

const manifest: Structure<WholeManifest> = {
  decode: (bytes, given) => {
    const { session: _session, ...expected } = expectation(given);
    const { prefix, records, recordsAt, ...fields } = decodeManifestHead(bytes, bytes.length, expected);
    checkDigest(bytes, "manifest");
    const entries = recordReader(fields).read(bytes.subarray(recordsAt, recordsAt + records * recordBytes));
    return {
      archive: prefix.archive,
      volume: prefix.volume,
      generation: prefix.generation,
      ...fields,
      entries,
    };
  },
  encode: ({ entries, ...of }) => {
    const records = new Uint8Array(entries.length * recordBytes);
    entries.forEach((entry, i) => encodeRecord(records, i * recordBytes, entry));
    return closed([encodeManifestHead(of, of, entries.length), records]);
  },
};

export interface WholeList {
  readonly identity: ListIdentity;
  readonly entries: readonly ListEntry[];
}

const list: Structure<WholeList> = {
  decode: (bytes, given) => {
    const entries = decodeList(bytes, expectation(given));
    const { archive, volume, generation } = decodePrefix(bytes);
    return {
      identity: {
        archive,
        volume,
        generation,
        session: bytes.slice(prefixBytes, prefixBytes + 16) as SessionUid,
      },
      entries,
    };
  },
  encode: ({ identity, entries }) => {
    const builder = listBuilder(identity);
    const parts = [builder.head, ...entries.map((entry) => builder.add(entry))];
    return new Uint8Array(Buffer.concat([...parts, builder.finish().tail]));
  },
};

export interface WholeOffsets extends ListIdentity {
  readonly records: readonly OffsetRecord[];
  readonly footer: OffsetsFooter;
}

const offsets: Structure<WholeOffsets> = {
  decode: (bytes, given) => {
    if (bytes.length < offsetsHeadBytes + footerBytes) throw new FormatError("truncated", "read offsets");
    const identity = decodeOffsetsHead(bytes, expectation(given));
    const { digest, ...footer } = decodeOffsetsFooter(
      bytes.subarray(-footerBytes),
      Number(given["file-size"]),
    );
    const records: OffsetRecord[] = [];
    for (let i = 0; i < footer.records; i++) {
      records.push(decodeOffsetRecord(bytes, offsetsHeadBytes + i * offsetRecordBytes));
    }
    checkDigest(bytes, "offsets");
    const whole = { ...identity, records, footer };
    // The digest can be made again from the records alone, because what pads them is zeros.
    if (!equalBytes(fileDigest(offsets.encode(whole)), digest))
      throw new FormatError("bad-value", "read offsets");
    return whole;
  },
  encode: ({ records, footer, ...identity }) => {
    const builder = offsetsBuilder(identity);
    const bytes = new Uint8Array(records.length * offsetRecordBytes);
    records.forEach((record, i) => encodeOffsetRecord(bytes, i * offsetRecordBytes, record));
    builder.add(bytes);
    return new Uint8Array(Buffer.concat([builder.head, bytes, builder.finish(footer)]));
  },
};

const table = {
  prefix: {
    decode: (bytes, given) => {
      const prefix = decodePrefix(bytes);
      if (bytes.length > prefixBytes) throw new FormatError("trailing", "read prefix");
      expectPrefix(prefix, { kind: prefix.kind, ...expectation(given) });
      return prefix;
    },
    encode: encodePrefix,
  } as Structure<FilePrefix>,
  archive: {
    decode: (bytes) => decodeArchiveHeader(bytes),
    encode: encodeArchiveHeader,
  } as Structure<ArchiveHeader>,
  head: {
    decode: (bytes, given) => decodeHead(bytes, expectation(given)),
    encode: encodeHead,
  } as Structure<Head>,
  dead: {
    decode: (bytes, given) => decodeDead(bytes, expectation(given)),
    encode: encodeDead,
  } as Structure<DeadFile>,
  index: {
    decode: (bytes, given) => decodeIndex(bytes, expectation(given)),
    encode: encodeIndex,
  } as Structure<VolumeIndex>,
  "session-header": {
    decode: (bytes, given) => decodeSessionHeader(bytes, expectation(given)),
    encode: encodeSessionHeader,
  } as Structure<SessionHeader>,
  manifest,
  list,
  offsets,
} as const;
export type StructureName =
  | "prefix"
  | "archive"
  | "head"
  | "dead"
  | "index"
  | "session-header"
  | "manifest"
  | "list"
  | "offsets";

/** The table. What a row's `decode` gives is what its `encode` takes. */
export const structures: Readonly<Record<StructureName, Structure<unknown>>> = table as unknown as Readonly<
  Record<StructureName, Structure<unknown>>
>;

/** The row of a structure by its name in a vector. */
export function structureOf(name: string): Structure<unknown> {
  const found = structures[name as StructureName];
  if (found === undefined) throw new Error(`no structure is called ${name}`);
  return found;
}
