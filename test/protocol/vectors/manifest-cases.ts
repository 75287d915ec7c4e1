// Vectors of manifests, head and records.

import {
  type Case,
  closed,
  digestOf,
  type Field,
  ids,
  prefix,
  type PrefixFields,
  raw,
  u32,
  u64,
  zeros,
  type Given,
  structureCase,
} from "./layout.ts";

const kib = 1024;
const chunkSize = 128 * kib;
const hole = (address: number, run: number): Field[] => [
  u64("hole: address", address),
  u32("hole: run", run),
  u32("hole: container", 0xffff_ffff),
  zeros("hole: nothing", 76),
];
interface ChunkFields {
  readonly run?: number;
  readonly container?: number;
  readonly storedAddress?: number;
  readonly storedLength?: number;
  readonly id?: string;
}
const chunk = (address: number, of: ChunkFields = {}): Field[] => [
  u64("chunk: address", address),
  u32("chunk: run", of.run ?? 1),
  u32("chunk: container", of.container ?? 0),
  u64("chunk: stored address", of.storedAddress ?? address),
  u32("chunk: stored length", of.storedLength ?? 5000),
  raw("chunk: id", of.id ?? digestOf("1d")),
  raw("chunk: checksum", digestOf("5a")),
];
interface ManifestFields {
  readonly prefix?: Partial<PrefixFields>;
  readonly size?: number;
  readonly chunkSize?: number;
  readonly table?: number;
  readonly records?: readonly (readonly Field[])[];
  readonly count?: number;
}
const manifest = (of: ManifestFields = {}): Field[] => {
  const records = of.records ?? [];
  return closed([
    ...prefix({ kind: 6, generation: 4, ...of.prefix }),
    raw("session", ids.session),
    u64("volume size", of.size ?? 10 * chunkSize - 512),
    u32("chunk size", of.chunkSize ?? chunkSize),
    u32("table entries", of.table ?? 1),
    raw("table 1: volume", ids.volume),
    raw("table 1: session", ids.otherSession),
    u64("records", of.count ?? records.length),
    ...records.flat(),
  ]);
};
const okManifest = (
  why: string,
  comment: string,
  fields: readonly Field[],
  value: Readonly<Record<string, unknown>>,
): Case => structureCase("manifest", why, "ok", comment, fields, value);
const badManifest = (
  why: string,
  expected: string,
  comment: string,
  of: ManifestFields,
  given: Given = {},
): Case => structureCase("manifest", why, expected, comment, manifest(of), undefined, given);
const manifestValue = {
  archive: ids.archive,
  volume: ids.volume,
  generation: 4,
  session: ids.session,
  size: 10 * chunkSize - 512,
  chunkSize,
  containers: [{ volume: ids.volume, session: ids.otherSession }],
};
const chunkValue = {
  kind: "chunk",
  address: 0,
  run: 1,
  id: digestOf("1d"),
  container: 0,
  storedAddress: 0,
  storedLength: 5000,
  checksum: digestOf("5a"),
};
const last = 9 * chunkSize;
export const manifestCases: readonly Case[] = [
  okManifest("empty", "Nothing changed.", manifest(), { ...manifestValue, entries: [] }),
  okManifest(
    "every-kind",
    "Stored here; a run of equal chunks stored once by another session; a hole; the short chunk at the end.",
    manifest({
      records: [
        chunk(0),
        chunk(2 * chunkSize, { run: 3, container: 1, storedAddress: 70 * chunkSize, storedLength: 131_776 }),
        hole(5 * chunkSize, 4),
        chunk(last, { storedLength: 1 }),
      ],
    }),
    {
      ...manifestValue,
      entries: [
        chunkValue,
        {
          ...chunkValue,
          address: 2 * chunkSize,
          run: 3,
          container: 1,
          storedAddress: 70 * chunkSize,
          storedLength: 131_776,
        },
        { kind: "hole", address: 5 * chunkSize, run: 4 },
        { ...chunkValue, address: last, storedAddress: last, storedLength: 1 },
      ],
    },
  ),
  badManifest("order", "bad-order", "Falling addresses.", { records: [chunk(chunkSize), chunk(0)] }),
  badManifest("overlap", "bad-order", "A record inside the run before it.", {
    records: [hole(0, 3), chunk(2 * chunkSize)],
  }),
  badManifest("twice", "bad-order", "An address twice.", { records: [chunk(0), chunk(0)] }),
  badManifest("behind-the-end", "bad-value", "A run that ends behind the volume.", {
    records: [hole(last, 2)],
  }),
  badManifest("long-run", "bad-value", "The longest run that a record can hold.", {
    records: [hole(0, 0xffff_ffff)],
  }),
  badManifest("no-run", "bad-value", "A run of no chunks.", { records: [chunk(0, { run: 0 })] }),
  badManifest("short-in-run", "bad-value", "The short last chunk can't equal full ones.", {
    records: [chunk(8 * chunkSize, { run: 2 })],
  }),
  badManifest("address", "bad-value", "No multiple of the chunk size.", { records: [chunk(64 * kib)] }),
  badManifest("stored-address", "bad-value", "Stored under an address that no chunk has.", {
    records: [chunk(0, { storedAddress: 1 })],
  }),
  badManifest("container", "bad-value", "Entry 2 of a table of one.", {
    records: [chunk(0, { container: 2 })],
  }),
  badManifest("stored-length-0", "bad-value", "Nothing is stored in no bytes.", {
    records: [chunk(0, { storedLength: 0 })],
  }),
  badManifest("stored-length", "bad-value", "A byte above the bound.", {
    records: [chunk(0, { storedLength: 131_777 })],
  }),
  badManifest("id-of-hole", "bad-value", "A stored chunk with the id of a hole.", {
    records: [chunk(0, { id: ids.noDigest })],
  }),
  badManifest("hole-with-data", "bad-value", "A hole and something behind it.", {
    records: [[...hole(0, 1).slice(0, 3), zeros("hole: nothing", 75), raw("and something", "01")]],
  }),
  badManifest("record-count", "truncated", "Two records are announced, one is there.", {
    records: [chunk(0)],
    count: 2,
  }),
  badManifest("record-count-2", "truncated", "One record is announced, two are there.", {
    records: [chunk(0), chunk(chunkSize)],
    count: 1,
  }),
  badManifest("table-count", "too-long", "A table above its bound.", { table: 262_145 }),
  badManifest("chunk-size", "bad-value", "100 KiB.", { chunkSize: 100 * kib }),
  badManifest("size", "bad-value", "Above 2^50 bytes.", { size: 2 ** 50 + 1 }),
  badManifest("sealed", "bad-value", "A sealed manifest: a key is needed.", { prefix: { protection: 1 } }),
  badManifest("other-volume", "bad-value", "Another volume's manifest.", {}, { volume: ids.group }),
];
