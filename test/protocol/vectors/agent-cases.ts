// Vectors of what the agent says: one frame each, as it follows the preamble.

import {
  type Case,
  digestOf,
  type Field,
  ids,
  raw,
  u16,
  u32,
  u64,
  u8,
  okMessage,
  badMessage,
  text,
} from "./layout.ts";

const max = 2n ** 53n - 1n;

const hello = (
  service: number,
  mountpoint: string,
  directory: string,
  archive: string = ids.archive,
): Field[] => [
  u8("service", service),
  ...text("mountpoint", mountpoint),
  ...text("directory", directory),
  raw("archive", archive),
];
const meta = (kind: number, volume: string, session: string, generation: number | bigint): Field[] => [
  u8("kind", kind),
  raw("volume", volume),
  raw("session", session),
  u64("generation", generation),
];
const begin = (over: {
  readonly name?: string;
  readonly form?: number;
  readonly chunkSize?: number;
  readonly size?: number;
  readonly directory?: string;
}): Field[] => [
  raw("volume", ids.volume),
  ...text("directory", over.directory ?? "vm-work-private"),
  raw("session", ids.session),
  ...text("name", over.name ?? "S_20261123-101500"),
  u8("form", over.form ?? 1),
  u64("generation", 4),
  u32("chunk size", over.chunkSize ?? 131_072),
  u64("size", over.size ?? 10 * 2 ** 30),
];
const chunk = (address: number | bigint, stored: string): Field[] => [
  u64("address", address),
  raw("checksum", digestOf("5a")),
  raw("stored form", stored),
];
const readChunks = (addresses: readonly number[], count = addresses.length): Field[] => [
  raw("volume", ids.volume),
  raw("session", ids.session),
  u32("addresses", count),
  ...addresses.map((each) => u64("address", each)),
];

export const agentCases: readonly Case[] = [
  okMessage(
    "agentHello",
    1,
    1,
    "dom0 asks for a service and says where the archive is.",
    hello(1, "/mnt/volume", "backups"),
    {
      service: "sparsebak.Send",
      mountpoint: "/mnt/volume",
      directory: "backups",
      archive: ids.archive,
    },
  ),
  okMessage(
    "agentHello",
    1,
    1,
    "The archive lies at the mountpoint itself, and dom0 knows none yet.",
    hello(4, "/media/user/Backup é", "", ids.none),
    {
      service: "sparsebak.Assemble",
      mountpoint: "/media/user/Backup é",
      directory: "",
      archive: ids.none,
    },
    "no-directory",
  ),
  badMessage(
    "agentHello",
    1,
    "unknown-service",
    "bad-value",
    "There is no fifth service.",
    hello(5, "/mnt/volume", "b"),
  ),
  badMessage(
    "agentHello",
    1,
    "dotdot-mountpoint",
    "bad-value",
    "The first part is `..`.",
    hello(1, "/../etc", "b"),
  ),
  badMessage("agentHello", 1, "empty-part", "bad-value", "Two slashes.", hello(1, "//mnt", "b")),
  badMessage(
    "agentHello",
    1,
    "relative-mountpoint",
    "bad-value",
    "No slash at the beginning.",
    hello(1, "mnt", "b"),
  ),
  badMessage(
    "agentHello",
    1,
    "dotdot-directory",
    "bad-value",
    "The directory leaves the mountpoint.",
    hello(1, "/mnt", "a/../../b"),
  ),
  badMessage(
    "agentHello",
    1,
    "dotdot-behind-u2028",
    "bad-value",
    "A line separator must not hide what lies behind it.",
    hello(1, "/mnt", "a\u2028/../b"),
  ),
  badMessage(
    "agentHello",
    1,
    "control-character",
    "bad-value",
    "A newline in a path.",
    hello(1, "/mnt/a\nb", "b"),
  ),
  badMessage("agentHello", 1, "too-long-path", "too-long", "1025 bytes of path.", [
    u8("service", 1),
    ...text("mountpoint", `/${"a".repeat(1024)}`),
    ...text("directory", "b"),
    raw("archive", ids.archive),
  ]),
  badMessage("agentHello", 1, "not-utf8", "bad-value", "A byte that begins nothing in UTF-8.", [
    u8("service", 1),
    u16("mountpoint: length", 2),
    raw("mountpoint", "2fff"),
    ...text("directory", "b"),
    raw("archive", ids.archive),
  ]),
  badMessage("agentHello", 1, "truncated", "truncated", "The text is longer than what is left.", [
    u8("service", 1),
    u16("mountpoint: length", 5),
    raw("mountpoint", "2f61"),
  ]),

  okMessage("readMeta", 2, 2, "A manifest.", meta(6, ids.volume, ids.session, 3), {
    kind: "manifest",
    volume: ids.volume,
    session: ids.session,
    generation: 3,
  }),
  okMessage(
    "readMeta",
    2,
    2,
    "What the step to head 3 no longer needs: a file of the archive, of no volume.",
    meta(3, ids.none, ids.none, 3),
    { kind: "dead", volume: ids.none, session: ids.none, generation: 3 },
    "dead",
  ),
  badMessage(
    "readMeta",
    2,
    "dead-of-volume",
    "bad-value",
    "A dead list belongs to no volume.",
    meta(3, ids.volume, ids.none, 3),
  ),
  badMessage("readMeta", 2, "kind", "bad-value", "Kind 8 is no file.", meta(8, ids.volume, ids.session, 3)),
  badMessage(
    "readMeta",
    2,
    "head-of-volume",
    "bad-value",
    "A head belongs to no volume: one thing has one name.",
    meta(2, ids.volume, ids.none, 3),
  ),
  badMessage(
    "readMeta",
    2,
    "index-of-session",
    "bad-value",
    "An index belongs to no session.",
    meta(4, ids.volume, ids.session, 3),
  ),
  badMessage("readMeta", 2, "large-generation", "bad-value", "2^53.", meta(2, ids.none, ids.none, max + 1n)),
  badMessage("readMeta", 2, "trailing", "trailing", "A byte more than the fields take.", [
    ...meta(2, ids.none, ids.none, 1),
    u8("one too many", 0),
  ]),

  okMessage("listPending", 3, 2, "Carries nothing.", [], {}),
  badMessage("listPending", 3, "body", "too-long", "Nothing may follow the header.", [u8("one too many", 0)]),

  okMessage(
    "discard",
    4,
    3,
    "An uncommitted session.",
    [...text("directory", "vm-work-private"), raw("session", ids.session)],
    {
      directory: "vm-work-private",
      session: ids.session,
    },
  ),
  badMessage("discard", 4, "reserved-directory", "bad-value", "`heads` is no volume's directory.", [
    ...text("directory", "Heads"),
    raw("session", ids.session),
  ]),
  badMessage("discard", 4, "hidden-directory", "bad-value", "A leading dot.", [
    ...text("directory", ".."),
    raw("session", ids.session),
  ]),
  badMessage("discard", 4, "slash", "bad-value", "A directory is one component.", [
    ...text("directory", "a/b"),
    raw("session", ids.session),
  ]),
  badMessage(
    "discard",
    4,
    "dot-at-end",
    "bad-value",
    "FAT drops a dot at the end: two names of one directory.",
    [...text("directory", "a."), raw("session", ids.session)],
  ),

  okMessage(
    "put",
    5,
    4,
    "An index of 1000 bytes is to come.",
    [...meta(4, ids.volume, ids.none, 4), u64("length", 1000), raw("digest", digestOf("22"))],
    {
      name: { kind: "index", volume: ids.volume, session: ids.none, generation: 4 },
      length: 1000,
      digest: digestOf("22"),
    },
  ),
  badMessage("put", 5, "truncated", "truncated", "Half a digest.", [
    ...meta(4, ids.volume, ids.none, 4),
    u64("length", 1000),
    raw("digest", "2222"),
  ]),

  okMessage("part", 6, 4, "Three bytes of what was announced.", [raw("bytes", "010203")], {
    bytes: "010203",
  }),
  badMessage(
    "part",
    6,
    "too-long",
    "too-long",
    "A MiB and a byte are announced; the header alone is enough to refuse.",
    [],
    { length: 1_048_577 },
  ),

  okMessage("beginSession", 7, 5, "A session of chunk files.", begin({}), {
    volume: ids.volume,
    directory: "vm-work-private",
    session: ids.session,
    name: "S_20261123-101500",
    form: "dir",
    generation: 4,
    chunkSize: 131_072,
    size: 10 * 2 ** 30,
  }),
  badMessage(
    "beginSession",
    7,
    "chunk-size",
    "bad-value",
    "96 KiB is no power of two.",
    begin({ chunkSize: 98_304 }),
  ),
  badMessage("beginSession", 7, "small-chunk-size", "bad-value", "32 KiB.", begin({ chunkSize: 32_768 })),
  badMessage("beginSession", 7, "form", "bad-value", "There are two forms.", begin({ form: 3 })),
  badMessage(
    "beginSession",
    7,
    "session-name",
    "bad-value",
    "A name of another shape.",
    begin({ name: "S_20261123_101500" }),
  ),
  badMessage("beginSession", 7, "size", "bad-value", "2^50 bytes and one.", begin({ size: 2 ** 50 + 1 })),

  okMessage("chunk", 8, 5, "Five bytes stored for the chunk at 1 MiB.", chunk(1_048_576, "28b52ffd00"), {
    address: 1_048_576,
    checksum: digestOf("5a"),
    bytes: "28b52ffd00",
  }),
  okMessage(
    "chunk",
    8,
    5,
    "The last address there is.",
    chunk(max - 65_535n, "00"),
    { address: Number(max) - 65_535, checksum: digestOf("5a"), bytes: "00" },
    "last-address",
  ),
  badMessage("chunk", 8, "address", "bad-value", "No multiple of 64 KiB.", chunk(4096, "28b52ffd00")),
  badMessage("chunk", 8, "large-address", "bad-value", "2^53.", chunk(max + 1n, "28b52ffd00")),
  badMessage("chunk", 8, "empty", "bad-value", "Nothing is stored in no bytes.", chunk(0, "")),
  badMessage("chunk", 8, "too-long", "too-long", "A byte above the bound of the largest chunk.", [], {
    length: 40 + 4_210_880 + 1,
  }),

  okMessage(
    "endSession",
    9,
    5,
    "What the agent sent.",
    [
      raw("session", ids.session),
      u64("chunks", 12),
      u64("stored bytes", 345_678),
      raw("list digest", digestOf("33")),
    ],
    { session: ids.session, chunks: 12, storedBytes: 345_678, listDigest: digestOf("33") },
  ),
  badMessage("endSession", 9, "truncated", "truncated", "No list digest.", [
    raw("session", ids.session),
    u64("chunks", 12),
    u64("stored bytes", 345_678),
  ]),

  okMessage(
    "commit",
    10,
    8,
    "From head 3 to head 4.",
    [u64("base", 3), raw("base digest", digestOf("11")), raw("head digest", digestOf("44"))],
    { base: 3, baseDigest: digestOf("11"), headDigest: digestOf("44") },
  ),
  badMessage("commit", 10, "trailing", "too-long", "A byte more than the largest body.", [
    u64("base", 3),
    raw("base digest", digestOf("11")),
    raw("head digest", digestOf("44")),
    u8("one too many", 0),
  ]),

  okMessage(
    "assemble",
    11,
    2,
    "Build an image below the mountpoint.",
    [raw("volume", ids.volume), raw("session", ids.session), ...text("save to", "images/work.img")],
    { volume: ids.volume, session: ids.session, saveTo: "images/work.img" },
  ),
  badMessage("assemble", 11, "absolute", "bad-value", "An absolute path.", [
    raw("volume", ids.volume),
    raw("session", ids.session),
    ...text("save to", "/etc/passwd"),
  ]),

  okMessage("goodbye", 12, 9, "Carries nothing.", [], {}),
  badMessage("goodbye", 12, "body", "too-long", "Nothing may follow the header.", [u8("one too many", 0)]),
  badMessage("goodbye", 12, "flags", "bad-value", "No flag has a meaning yet.", [], { flags: 1 }),

  okMessage("readChunks", 13, 3, "Two chunks of one container.", readChunks([65_536, 1_048_576]), {
    volume: ids.volume,
    session: ids.session,
    addresses: [65_536, 1_048_576],
  }),
  badMessage("readChunks", 13, "order", "bad-value", "Falling addresses.", readChunks([65_536, 0])),
  badMessage("readChunks", 13, "twice", "bad-value", "An address twice.", readChunks([65_536, 65_536])),
  badMessage("readChunks", 13, "address", "bad-value", "No multiple of 64 KiB.", readChunks([4096])),
  badMessage(
    "readChunks",
    13,
    "count",
    "too-long",
    "A chunk more than one request may ask for is announced.",
    readChunks([], 4097),
  ),
  badMessage("readChunks", 13, "truncated", "truncated", "Two are announced, one is there.", [
    ...readChunks([65_536], 2),
  ]),

  okMessage("scrub", 14, 3, "A container.", [raw("volume", ids.volume), raw("session", ids.session)], {
    volume: ids.volume,
    session: ids.session,
  }),
  okMessage(
    "scrub",
    14,
    3,
    "All that is in no container.",
    [raw("volume", ids.none), raw("session", ids.none)],
    { volume: ids.none, session: ids.none },
    "of-the-archive",
  ),
  badMessage("scrub", 14, "truncated", "truncated", "No session.", [raw("volume", ids.volume)]),

  okMessage(
    "salvage",
    15,
    3,
    "What an interrupted session has left.",
    [...text("directory", "vm-work-private"), raw("session", ids.session)],
    { directory: "vm-work-private", session: ids.session },
  ),
  badMessage("salvage", 15, "directory", "bad-value", "A directory is one component.", [
    ...text("directory", "../a"),
    raw("session", ids.session),
  ]),

  okMessage("sweep", 16, 9, "Carries nothing.", [], {}),
  badMessage("sweep", 16, "body", "too-long", "Nothing may follow the header.", [u8("one too many", 0)]),

  okMessage("reveal", 17, 2, "A key; what it means is not the wire's to know.", [raw("key", "01020304")], {
    key: "01020304",
  }),
  badMessage("reveal", 17, "too-long", "too-long", "4097 bytes are announced.", [], { length: 4097 }),
];
