// Arbitrary values of every message and of every structure, for property tests. Everything that the format allows has
// a chance to come, the bounds above all.

import * as fc from "fast-check";
import type { Arbitrary } from "fast-check";
import { type ArchiveHeader, type KeySlot, maxKeySlots } from "../../protocol/archive/archive-header.ts";
import type { ChunkRun, DeadContainer, DeadFile, DeadVolume } from "../../protocol/archive/dead-file.ts";
import {
  chainOf,
  type Head,
  type HeadBody,
  type HeadVolume,
  logEntryBytes,
  noChain,
} from "../../protocol/archive/head.ts";
import {
  consistencies,
  type Container,
  maxTags,
  type SessionRecord,
  type VolumeIndex,
} from "../../protocol/archive/index-file.ts";
import type { ListIdentity } from "../../protocol/archive/list-file.ts";
import { chunkCount, type ContainerRef, type ManifestEntry } from "../../protocol/archive/manifest.ts";
import { directoryFor, isDirectoryName, isVolumeName } from "../../protocol/archive/names.ts";
import { type FilePrefix, noVolume } from "../../protocol/archive/prefix.ts";
import type { SessionHeader } from "../../protocol/archive/session-header.ts";
import { offsetsHeadBytes, offsetsMemberBytes, tarPadding } from "../../protocol/archive/tar-layout.ts";
import {
  type ChunkAddress,
  maxStoredLength,
  maxTime,
  maxVolumeSize,
  type SessionName,
} from "../../protocol/archive/types.ts";
import {
  damagedFiles,
  damages,
  metaKinds,
  type MessageName,
  type Messages,
  type MetaName,
  refusals,
  services,
} from "../../protocol/wire/messages.ts";
import type { StructureName, WholeList, WholeManifest, WholeOffsets } from "./structures.ts";

const names = <Table extends object>(table: Table): Arbitrary<keyof Table & string> =>
  fc.constantFrom(...(Object.keys(table) as (keyof Table & string)[]));
const bytes = <T extends Uint8Array>(length: number): Arbitrary<T> =>
  fc.uint8Array({ minLength: length, maxLength: length }) as Arbitrary<Uint8Array> as Arbitrary<T>;
const integer = <T extends number>(max: number, min = 0): Arbitrary<T> =>
  fc.oneof(
    fc.maxSafeInteger().map((n) => min + (Math.abs(n) % (max - min + 1))),
    fc.constantFrom(min, max),
    fc.integer({ min, max: Math.min(max, min + 1000) }),
  ) as Arbitrary<T>;
const u64 = <T extends number>(min = 0): Arbitrary<T> => integer<T>(Number.MAX_SAFE_INTEGER - 1, min);
const u32: Arbitrary<number> = integer(0xffff_ffff);
const chunkSize: Arbitrary<number> = fc.integer({ min: 16, max: 22 }).map((n) => 2 ** n);
const address = (step = 65_536): Arbitrary<ChunkAddress> =>
  integer<ChunkAddress>(Math.floor(Number.MAX_SAFE_INTEGER / step)).map((n) => (n * step) as ChunkAddress);
const time: Arbitrary<number> = integer(maxTime);
const size: Arbitrary<number> = integer(maxVolumeSize);

/** Text of up to `max` UTF-8 bytes, whatever its characters. */
const utf8Text = (max: number): Arbitrary<string> =>
  fc.string({
    unit: fc.oneof(
      fc.constantFrom("\ufeff", "\u0000", "é", "\u2028", "𝄞", "/", "."),
      fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
    ),
    maxLength: max / 4,
  });
export const sessionName: Arbitrary<SessionName> = fc
  .tuple(integer(99_999_999), integer(999_999))
  .map(
    ([day, second]) => `S_${String(day).padStart(8, "0")}-${String(second).padStart(6, "0")}` as SessionName,
  );
export const volumeName: Arbitrary<string> = fc
  .array(
    fc.oneof(fc.constantFrom("vm-work-private", "a.", "...", ".b", "ü", "\u2028", "a b"), utf8Text(20)),
    { minLength: 1, maxLength: 4 },
  )
  .map((parts) => parts.join("/"))
  .filter(isVolumeName);
export const directoryName: Arbitrary<string> = fc.oneof(
  volumeName.map((each) => directoryFor(each, [])),
  fc.constantFrom("a", "-", "+1", "%2Ea", "a".repeat(200)),
);
const path = (start: string): Arbitrary<string> =>
  volumeName.map((name) => start + name).filter((each) => each.length < 300);
const form: Arbitrary<"dir" | "tar"> = fc.constantFrom("dir", "tar");
const tag: Arbitrary<string> = fc.stringMatching(/^[A-Za-z0-9._+-]{1,64}$/);

const ofArchive: ReadonlySet<string> = new Set(["archive", "head", "dead", "headCopy"]);
const ofVolume: ReadonlySet<string> = new Set(["index", "indexCopy"]);
const metaName: Arbitrary<MetaName> = fc
  .record<MetaName>({ kind: names(metaKinds), volume: bytes(16), session: bytes(16), generation: u64() })
  .map((name) => ({
    ...name,
    ...(ofArchive.has(name.kind) ? { volume: noVolume } : {}),
    ...(ofArchive.has(name.kind) || ofVolume.has(name.kind)
      ? { session: new Uint8Array(16) as MetaName["session"] }
      : {}),
  }));
const refused: Arbitrary<Messages["refused"]> = fc.record({ code: names(refusals), reason: utf8Text(512) });
const part: Arbitrary<Messages["part"]> = fc.record({ bytes: fc.uint8Array({ maxLength: 5000 }) });

/** Values of every message. */
export const messageBodies: { readonly [Name in MessageName]: Arbitrary<Messages[Name]> } = {
  agentHello: fc.record({
    service: names(services),
    mountpoint: path("/"),
    directory: fc.oneof(fc.constant(""), path("")),
    archive: bytes(16),
  }),
  readMeta: metaName,
  listPending: fc.constant({}),
  discard: fc.record({ directory: directoryName, session: bytes(16) }),
  put: fc.record({ name: metaName, length: u64(), digest: bytes(32) }),
  part,
  beginSession: fc.record({
    volume: bytes(16),
    directory: directoryName,
    session: bytes(16),
    name: sessionName,
    form,
    generation: u64(),
    chunkSize,
    size,
  }),
  chunk: fc.record({
    address: address(),
    checksum: bytes(32),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 5000 }),
  }),
  endSession: fc.record({ session: bytes(16), chunks: u64(), storedBytes: u64(), listDigest: bytes(32) }),
  commit: fc.record({ base: u64(), baseDigest: bytes(32), headDigest: bytes(32) }),
  assemble: fc.record({
    volume: bytes(16),
    session: bytes(16),
    saveTo: fc.oneof(fc.constant(""), path("")),
  }),
  goodbye: fc.constant({}),
  receiverHello: fc.record({
    capabilities: u32,
    archive: bytes(16),
    generation: u64(),
    headDigest: bytes(32),
    freeBytes: u64(),
    totalBytes: u64(),
    freeInodes: u64(),
    totalInodes: u64(),
  }),
  pending: fc.record({
    directory: directoryName,
    name: sessionName,
    form,
    finished: fc.boolean(),
    session: bytes(16),
  }),
  progress: fc.record({ bytes: u64(), chunks: u64() }),
  checkpoint: fc.record({ chunks: u64(), address: address() }),
  done: fc.record({ bytes: u64() }),
  committed: fc.record({ generation: u64(), headDigest: bytes(32) }),
  assembled: fc.record({ imageDigest: bytes(32), size }),
  refused,
  aborted: refused,
  data: part,
  readChunks: fc.record({
    volume: bytes(16),
    session: bytes(16),
    addresses: fc.uniqueArray(address(), { maxLength: 20 }).map((all) => all.toSorted((a, b) => a - b)),
  }),
  scrub: fc.record({ volume: bytes(16), session: bytes(16) }),
  salvage: fc.record({ directory: directoryName, session: bytes(16) }),
  sweep: fc.constant({}),
  reveal: fc.record({ key: fc.uint8Array({ maxLength: 300 }) }),
  stored: fc.record({ address: address(), bytes: fc.uint8Array({ maxLength: 5000 }) }),
  damage: fc
    .record({
      file: names(damagedFiles),
      what: names(damages),
      volume: bytes(16),
      session: bytes(16),
      address: address(),
      generation: u64(),
    })
    .map(({ address: at, generation, ...of }) => ({
      ...of,
      number: of.file === "chunk" ? at : generation,
    })) as never,
};

const identity: Arbitrary<ListIdentity> = fc.record({
  archive: bytes(16),
  volume: bytes(16),
  generation: u64(1),
  session: bytes(16),
});

const prefix: Arbitrary<FilePrefix> = fc.oneof(
  fc.record<FilePrefix>({
    kind: fc.constantFrom("archive", "head", "dead", "index", "header", "manifest", "list", "offsets"),
    protection: fc.constant("plain"),
    archive: bytes(16),
    volume: bytes(16),
    generation: u64(),
    salt: fc.constant(new Uint8Array(16)),
  }),
  fc.record<FilePrefix>({
    kind: fc.constantFrom("index", "header", "manifest"),
    protection: fc.constant("sealed"),
    archive: bytes(16),
    volume: bytes(16),
    generation: u64(),
    salt: bytes(16),
  }),
);

const slot: Arbitrary<KeySlot> = fc.record({
  logN: fc.integer({ min: 10, max: 20 }),
  r: fc.constant(8),
  p: fc.constant(1),
  salt: bytes(16),
  nonce: bytes(12),
  wrapped: bytes(48),
  commitment: bytes(32),
});
const archive: Arbitrary<ArchiveHeader> = fc.boolean().chain((sealed) =>
  fc.record<ArchiveHeader>({
    uuid: bytes(16),
    chunkSize,
    compression: fc.constant("zstd"),
    level: fc.integer({ min: 1, max: 19 }),
    sealed: fc.constant(sealed),
    createdAt: time,
    idSeed: sealed
      ? fc.constant(new Uint8Array(32))
      : bytes(32).filter((seed) => seed.some((byte) => byte !== 0)),
    slots: fc.array(slot, { maxLength: maxKeySlots }),
    mac: bytes(32),
  }),
);

const head: Arbitrary<Head> = fc.integer({ min: 1, max: 40 }).chain((generation) =>
  fc
    .record({
      archive: bytes<Head["archive"]>(16),
      createdAt: time,
      archiveGeneration: integer<Head["archiveGeneration"]>(generation),
      archiveDigest: bytes<Head["archiveDigest"]>(32),
      volumes: fc.uniqueArray(
        fc.record<HeadVolume>({
          volume: bytes(16),
          directory: directoryName.filter(isDirectoryName),
          indexGeneration: integer(generation, 1),
          indexDigest: bytes(32),
        }),
        { selector: (each) => each.directory.toLowerCase(), maxLength: 5 },
      ),
      previousChain: generation === 1 ? fc.constant(noChain) : bytes<Head["chain"]>(32),
      log: bytes(generation * logEntryBytes),
      mac: bytes<Head["mac"]>(32),
    })
    .map((fields): Head => {
      const byId = new Map(fields.volumes.map((each) => [Buffer.from(each.volume).toString("hex"), each]));
      const volumes = [...byId.values()].sort((a, b) => Buffer.compare(a.volume, b.volume));
      const of: HeadBody = { ...fields, volumes };
      const at = generation as Head["generation"];
      return {
        ...fields,
        volumes,
        generation: at,
        chain: chainOf(fields.archive, at, fields.previousChain, of),
      };
    }),
);

/** Generations from 0 on, below `below`, rising. */
const generationsBelow = (below: number): Arbitrary<Head["generation"][]> =>
  fc
    .uniqueArray(integer<Head["generation"]>(below - 1), { maxLength: 4 })
    .map((all) => all.toSorted((a, b) => a - b));
const runs: Arbitrary<ChunkRun[]> = fc
  .array(fc.record({ gap: fc.integer({ min: 0, max: 3 }), count: fc.integer({ min: 1, max: 5000 }) }), {
    maxLength: 4,
  })
  .map((all) => {
    let next = 0;
    return all.map(({ gap, count }) => {
      const run = { address: ((next + gap) * 65_536) as ChunkAddress, count };
      next += gap + count;
      return run;
    });
  });
const deadContainer = (below: number): Arbitrary<DeadContainer> =>
  fc
    .record({
      uid: bytes<DeadContainer["uid"]>(16),
      name: sessionName,
      form,
      manifests: generationsBelow(below),
      lists: generationsBelow(below),
      chunks: runs,
    })
    .map((of) => ({ ...of, whole: of.manifests.length + of.lists.length + of.chunks.length === 0 }));
const deadVolume = (below: number): Arbitrary<DeadVolume> =>
  fc
    .record({
      volume: bytes<DeadVolume["volume"]>(16),
      directory: directoryName.filter(isDirectoryName),
      indexes: generationsBelow(below),
      containers: fc.uniqueArray(deadContainer(below), {
        maxLength: 3,
        selector: (each) => Buffer.from(each.uid).toString("hex"),
      }),
    })
    .map((of) => ({ ...of, removed: of.indexes.length + of.containers.length === 0 }));
const dead: Arbitrary<DeadFile> = u64<Head["generation"]>(1).chain((generation) =>
  fc
    .record({
      archive: bytes<DeadFile["archive"]>(16),
      createdAt: time,
      volumes: fc.uniqueArray(deadVolume(generation), {
        maxLength: 3,
        selector: (each) => Buffer.from(each.volume).toString("hex"),
      }),
      headsBelow: integer<Head["generation"]>(generation),
      archives: generationsBelow(generation),
    })
    .map((of) => ({
      ...of,
      generation,
      volumes: of.volumes.toSorted((a, b) => Buffer.compare(a.volume, b.volume)),
    })),
);

const container: Arbitrary<Container> = fc.record({
  uid: bytes(16),
  name: sessionName,
  form,
  headerDigest: bytes(32),
  listGeneration: u64(),
  listDigest: bytes(32),
  manifestGeneration: u64(1),
  manifestDigest: bytes(32),
  chunks: u64(),
  storedBytes: u64(),
});
const record: Arbitrary<Omit<SessionRecord, "uid" | "sequence">> = fc.record({
  takenAt: time,
  size,
  mapRoot: bytes(32),
  consistency: names(consistencies),
  protected: fc.boolean(),
  tags: fc.array(tag, { maxLength: maxTags }),
});
/** Values of an index. */
export const index: Arbitrary<VolumeIndex> = fc
  .record({
    archive: bytes<VolumeIndex["archive"]>(16),
    volume: bytes<VolumeIndex["volume"]>(16),
    name: volumeName,
    group: bytes<VolumeIndex["group"]>(16),
    files: fc.uniqueArray(
      fc.record({
        container,
        record,
        pruned: fc.boolean(),
        salvaged: fc.boolean(),
        skip: fc.integer({ min: 1, max: 9 }),
      }),
      {
        maxLength: 6,
        selector: (each) => each.container.name,
      },
    ),
  })
  .map(({ files, ...fields }): VolumeIndex => {
    const byId = new Map(files.map((each) => [Buffer.from(each.container.uid).toString("hex"), each]));
    const unique = [...byId.values()];
    let sequence = 0;
    return {
      ...fields,
      generation: (1 +
        Math.max(
          0,
          ...unique.map(({ container: { manifestGeneration, listGeneration } }) =>
            Math.max(manifestGeneration, listGeneration),
          ),
        )) as VolumeIndex["generation"],
      containers: unique.map((each) =>
        each.pruned
          ? {
              ...each.container,
              ...(each.salvaged ? { headerDigest: noChain } : {}),
              manifestGeneration: 0 as VolumeIndex["generation"],
              manifestDigest: noChain,
            }
          : each.container,
      ),
      sessions: unique
        .filter((each) => !each.pruned)
        .map((each) => ({ ...each.record, uid: each.container.uid, sequence: (sequence += each.skip) })),
    };
  });

const session: Arbitrary<SessionHeader> = fc.record({
  archive: bytes(16),
  volume: bytes(16),
  generation: u64(),
  uid: bytes(16),
  sequence: u64(1),
  name: sessionName,
  volumeName,
  takenAt: time,
  size,
  chunkSize,
  consistency: names(consistencies),
  mapRoot: bytes(32),
});

/** Entries of a manifest of a volume of `of.size` bytes: rising, apart, inside. */
export const entriesOf = (of: {
  readonly size: number;
  readonly chunkSize: number;
  readonly containers: number;
}): Arbitrary<ManifestEntry[]> =>
  fc
    .array(
      fc.record({
        gap: fc.integer({ min: 0, max: 3 }),
        run: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 20_000 })),
        hole: fc.boolean(),
        id: bytes<never>(32),
        container: fc.integer({ min: 0, max: of.containers }),
        storedAddress: address(of.chunkSize),
        storedLength: integer(maxStoredLength(of.chunkSize), 1),
        checksum: bytes<never>(32),
      }),
      { maxLength: 12 },
    )
    .map((list) => {
      const count = chunkCount(of.size, of.chunkSize);
      const whole = Math.floor(of.size / of.chunkSize);
      const entries: ManifestEntry[] = [];
      let at = 0;
      for (const { gap, run, hole, ...chunk } of list) {
        at += gap;
        const isHole = hole || (chunk.id as Uint8Array).every((byte) => byte === 0);
        const until = Math.min(at + run, isHole || at >= whole ? count : whole);
        if (until <= at) continue;
        const place = { address: (at * of.chunkSize) as ChunkAddress, run: until - at };
        entries.push(isHole ? { kind: "hole", ...place } : { kind: "chunk", ...chunk, ...place });
        at = until;
      }
      return entries;
    });

const manifest: Arbitrary<WholeManifest> = fc
  .record({
    archive: bytes<WholeManifest["archive"]>(16),
    volume: bytes<WholeManifest["volume"]>(16),
    generation: u64<WholeManifest["generation"]>(),
    session: bytes<WholeManifest["session"]>(16),
    size: fc.oneof(size, integer(40 * 65_536)),
    chunkSize,
    containers: fc.array(fc.record<ContainerRef>({ volume: bytes(16), session: bytes(16) }), {
      maxLength: 4,
    }),
  })
  .chain((fields) =>
    entriesOf({ ...fields, containers: fields.containers.length }).map((entries) => ({ ...fields, entries })),
  );

const list: Arbitrary<WholeList> = fc
  .record({
    identity,
    entries: fc.uniqueArray(
      fc.record({
        address: address(),
        storedLength: integer(maxStoredLength(2 ** 22), 1),
        checksum: bytes<never>(32),
      }),
      { maxLength: 8, selector: (each) => each.address },
    ),
  })
  .map(({ identity: of, entries }) => ({
    identity: of,
    entries: entries.sort((a, b) => a.address - b.address),
  }));

const offsets: Arbitrary<WholeOffsets> = fc
  .record({
    identity,
    records: fc.array(fc.record({ address: u64<ChunkAddress>(), offset: u64() }), { maxLength: 40 }),
    lengths: fc.tuple(integer(10_000), integer(4096), integer(100_000)),
    manifestGeneration: u64<WholeOffsets["generation"]>(),
    salvaged: fc.boolean(),
  })
  .map(({ identity: of, records, lengths, salvaged, ...rest }): WholeOffsets => {
    const manifestGeneration = salvaged ? (0 as WholeOffsets["generation"]) : rest.manifestGeneration;
    let end = 512;
    const [manifestAt, headerAt, listAt] = lengths.map((length, i) => {
      if (salvaged && i < 2) return { offset: 0, length: 0 };
      const place = { offset: end + 512, length };
      end = place.offset + length + tarPadding(length);
      return place;
    }) as [
      WholeOffsets["footer"]["manifest"],
      WholeOffsets["footer"]["header"],
      WholeOffsets["footer"]["list"],
    ];
    return {
      ...of,
      records,
      footer: {
        recordsOffset: end + 512 + offsetsHeadBytes,
        records: records.length,
        manifest: manifestAt,
        header: headerAt,
        list: listAt,
        manifestGeneration,
      },
    };
  });

/** Bytes of the tar in which a value of `offsets` is the last member. */
export function tarSizeOf({ footer, records }: WholeOffsets): number {
  return footer.recordsOffset - offsetsHeadBytes + offsetsMemberBytes(records.length) + 1024;
}

/** Values of every structure, under the names of the table in structures.ts. */
export const structureValues: Readonly<Record<StructureName, Arbitrary<unknown>>> = {
  prefix,
  archive,
  head,
  dead,
  index,
  "session-header": session,
  manifest,
  list,
  offsets,
};
