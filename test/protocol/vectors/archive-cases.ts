// Vectors of what every file begins with, and of `archive`.

import {
  accept,
  afterMaxTime,
  type Case,
  closed,
  digestOf,
  type Field,
  ids,
  prefix,
  type PrefixFields,
  raw,
  reject,
  takenAt,
  u32,
  u64,
  u8,
} from "./layout.ts";

const okPrefix = accept("prefix");
const badPrefix = reject("prefix");
const listPrefix = { kind: 7, generation: 4 };
const prefixValue = {
  kind: "list",
  protection: "plain",
  archive: ids.archive,
  volume: ids.volume,
  generation: 4,
  salt: ids.none,
};
export const prefixCases: readonly Case[] = [
  okPrefix("list", "The beginning of a list.", prefix(listPrefix), prefixValue),
  okPrefix(
    "sealed-manifest",
    "The prefix of a sealed file can be read; what follows can't, by this version.",
    prefix({ kind: 6, protection: 1, generation: 4, salt: digestOf("77").slice(0, 32) }),
    { ...prefixValue, kind: "manifest", protection: "sealed", salt: digestOf("77").slice(0, 32) },
  ),
  badPrefix(
    "magic",
    "bad-magic",
    "A line feed alone, as text transfers make it.",
    prefix({ ...listPrefix, magic: "53505253424b0a0a" }),
  ),
  badPrefix("version", "bad-version", "A later version.", prefix({ ...listPrefix, version: 2 })),
  badPrefix("kind", "bad-value", "Kind 9 has no meaning.", prefix({ ...listPrefix, kind: 9 })),
  badPrefix(
    "protection",
    "bad-value",
    "Protection 2 has no meaning.",
    prefix({ ...listPrefix, protection: 2 }),
  ),
  badPrefix("sealed-list", "bad-value", "A list is never sealed.", prefix({ ...listPrefix, protection: 1 })),
  badPrefix(
    "salt",
    "bad-value",
    "A salt in a plain file.",
    prefix({ ...listPrefix, salt: digestOf("77").slice(0, 32) }),
  ),
  badPrefix("generation", "bad-value", "2^53.", prefix({ ...listPrefix, generation: 2n ** 53n })),
  badPrefix("cut", "truncated", "No salt.", prefix(listPrefix).slice(0, -1)),
  badPrefix(
    "other-archive",
    "bad-value",
    "Of another archive than the one that is read.",
    prefix(listPrefix),
    {
      archive: ids.group,
    },
  ),
];

const okArchive = accept("archive");
const badArchive = reject("archive");
const slot: Field[] = [
  u8("slot: log2 N", 19),
  u8("slot: r", 8),
  u8("slot: p", 1),
  raw("slot: salt", digestOf("01").slice(0, 32)),
  raw("slot: nonce", digestOf("02").slice(0, 24)),
  raw("slot: wrapped key", digestOf("03") + digestOf("03").slice(0, 32)),
  raw("slot: commitment", digestOf("04")),
];
interface HeaderFields {
  readonly prefix?: Partial<PrefixFields>;
  readonly chunkSize?: number;
  readonly compression?: number;
  readonly level?: number;
  readonly sealed?: number;
  readonly createdAt?: number;
  readonly idSeed?: string;
  readonly count?: number;
  readonly slots?: readonly Field[];
}
const archive = (of: HeaderFields = {}): Field[] =>
  closed([
    ...prefix({ kind: 1, volume: ids.none, generation: 0, ...of.prefix }),
    u32("chunk size", of.chunkSize ?? 131_072),
    u8("compression", of.compression ?? 1),
    u8("level", of.level ?? 3),
    u8("sealed", of.sealed ?? 0),
    u64("created at", of.createdAt ?? takenAt),
    raw("id seed", of.idSeed ?? digestOf("5e")),
    u32("slots", of.count ?? 0),
    ...(of.slots ?? []),
    raw("MAC", digestOf("6d")),
  ]);
const archiveValue = {
  uuid: ids.archive,
  chunkSize: 131_072,
  compression: "zstd",
  level: 3,
  sealed: false,
  createdAt: takenAt,
  idSeed: digestOf("5e"),
  slots: [],
  mac: digestOf("6d"),
};
export const archiveCases: readonly Case[] = [
  okArchive("unsealed", "Chunks of 128 KiB, zstd at level 3, no slots.", archive(), archiveValue),
  okArchive(
    "sealed",
    "A sealed archive's header is itself plain: one key slot, no public seed.",
    archive({ sealed: 1, idSeed: ids.noDigest, count: 1, slots: slot }),
    {
      ...archiveValue,
      sealed: true,
      idSeed: ids.noDigest,
      slots: [
        {
          logN: 19,
          r: 8,
          p: 1,
          salt: digestOf("01").slice(0, 32),
          nonce: digestOf("02").slice(0, 24),
          wrapped: digestOf("03") + digestOf("03").slice(0, 32),
          commitment: digestOf("04"),
        },
      ],
    },
  ),
  badArchive("chunk-size", "bad-value", "8 MiB.", archive({ chunkSize: 8_388_608 })),
  badArchive(
    "compression",
    "bad-value",
    "0 would be none: there is always a zstd frame.",
    archive({ compression: 0 }),
  ),
  badArchive(
    "level",
    "bad-value",
    "Level 20 needs a window that readers don't allow.",
    archive({ level: 20 }),
  ),
  badArchive("sealed-2", "bad-value", "A truth value of 2.", archive({ sealed: 2 })),
  badArchive(
    "created-at",
    "bad-value",
    "The first millisecond of the year 10000.",
    archive({ createdAt: afterMaxTime }),
  ),
  badArchive("no-seed", "bad-value", "Not sealed, and no seed.", archive({ idSeed: ids.noDigest })),
  badArchive("seed-of-sealed", "bad-value", "Sealed, and a public seed.", archive({ sealed: 1 })),
  badArchive("nine-slots", "too-long", "Nine slots are announced.", archive({ count: 9 })),
  badArchive(
    "slot-cost",
    "bad-value",
    "2^22: scrypt would take 4 GiB.",
    archive({ count: 1, slots: [u8("slot: log2 N", 22), ...slot.slice(1)] }),
  ),
  badArchive("slot-missing", "truncated", "One slot is announced, none follows.", archive({ count: 1 })),
  badArchive(
    "body-sealed",
    "bad-value",
    "The header of an archive is never sealed itself.",
    archive({ prefix: { protection: 1 } }),
  ),
  badArchive(
    "of-a-volume",
    "bad-value",
    "A volume's id where none belongs.",
    archive({ prefix: { volume: ids.volume } }),
  ),
  badArchive("digest", "bad-digest", "The digest is of other bytes.", [
    ...archive().slice(0, -1),
    raw("SHA-256 of something else", digestOf("00")),
  ]),
];
