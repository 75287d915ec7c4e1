// Vectors of what the receiver says: one frame each, as it follows the preamble.

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

const pending = (finished: number, directory = "vm-work-private"): Field[] => [
  ...text("directory", directory),
  ...text("name", "S_20261123-101500"),
  u8("form", 2),
  u8("finished", finished),
  raw("session", ids.session),
];
const damage = (file: number, what: number, number: number): Field[] => [
  u8("file", file),
  u8("what", what),
  raw("volume", ids.volume),
  raw("session", ids.session),
  u64("number", number),
];
const receiverHello = (free: number | bigint): Field[] => [
  u32("capabilities", 5),
  raw("archive", ids.archive),
  u64("generation", 3),
  raw("head digest", digestOf("11")),
  u64("free bytes", free),
  u64("total bytes", 2_000_000_000_000),
  u64("free inodes", 0),
  u64("total inodes", 0),
];

export const receiverCases: readonly Case[] = [
  okMessage(
    "receiverHello",
    128,
    1,
    "An archive at head 3, on a file system that does not count inodes.",
    receiverHello(1_000_000_000_000),
    {
      capabilities: 5,
      archive: ids.archive,
      generation: 3,
      headDigest: digestOf("11"),
      freeBytes: 1_000_000_000_000,
      totalBytes: 2_000_000_000_000,
      freeInodes: 0,
      totalInodes: 0,
    },
  ),
  badMessage(
    "receiverHello",
    128,
    "free-bytes",
    "bad-value",
    "More than 2^53-1 bytes are free.",
    receiverHello(max + 1n),
  ),

  okMessage("pending", 129, 2, "A finished session without a head.", pending(1), {
    directory: "vm-work-private",
    name: "S_20261123-101500",
    form: "tar",
    finished: true,
    session: ids.session,
  }),
  badMessage("pending", 129, "finished", "bad-value", "A truth value of 255.", pending(255)),
  badMessage("pending", 129, "long-directory", "too-long", "201 bytes.", pending(0, "a".repeat(201))),

  okMessage("progress", 130, 5, "Also the heartbeat.", [u64("bytes", max), u64("chunks", 17)], {
    bytes: Number(max),
    chunks: 17,
  }),
  badMessage("progress", 130, "truncated", "truncated", "One number.", [u64("bytes", 1)]),

  okMessage(
    "checkpoint",
    131,
    5,
    "17 chunks are on the medium, the last of them at 2 MiB.",
    [u64("chunks", 17), u64("address", 2_097_152)],
    {
      chunks: 17,
      address: 2_097_152,
    },
  ),
  badMessage("checkpoint", 131, "address", "bad-value", "No multiple of 64 KiB.", [
    u64("chunks", 17),
    u64("address", 1),
  ]),

  okMessage("done", 132, 4, "A put took 1000 bytes.", [u64("bytes", 1000)], { bytes: 1000 }),
  badMessage("done", 132, "too-long", "too-long", "Nine bytes.", [u64("bytes", 0), u8("one too many", 0)]),

  okMessage(
    "committed",
    133,
    8,
    "Head 4 is there.",
    [u64("generation", 4), raw("head digest", digestOf("44"))],
    {
      generation: 4,
      headDigest: digestOf("44"),
    },
  ),
  badMessage("committed", 133, "truncated", "truncated", "No digest.", [u64("generation", 4)]),

  okMessage(
    "assembled",
    134,
    2,
    "An image of 1 GiB.",
    [raw("image digest", digestOf("55")), u64("size", 2 ** 30)],
    {
      imageDigest: digestOf("55"),
      size: 2 ** 30,
    },
  ),
  badMessage("assembled", 134, "size", "bad-value", "2^50 bytes and one.", [
    raw("image digest", digestOf("55")),
    u64("size", 2 ** 50 + 1),
  ]),

  okMessage(
    "refused",
    135,
    8,
    "Another run was faster.",
    [u16("code", 7), ...text("reason", "head 5, not 3")],
    {
      code: "stale",
      reason: "head 5, not 3",
    },
  ),
  badMessage("refused", 135, "unknown-code", "bad-value", "Code 17 has no meaning.", [
    u16("code", 17),
    ...text("reason", ""),
  ]),
  badMessage("refused", 135, "surrogate", "bad-value", "Half a character in UTF-8.", [
    u16("code", 16),
    u16("reason: length", 3),
    raw("reason", "eda080"),
  ]),
  badMessage("refused", 135, "long-reason", "too-long", "513 bytes of reason.", [
    u16("code", 16),
    ...text("reason", "x".repeat(513)),
  ]),

  okMessage(
    "aborted",
    136,
    5,
    "The drive is full; control characters are dom0's to escape.",
    [u16("code", 3), ...text("reason", "\u001b[2J")],
    {
      code: "no-space",
      reason: "\u001b[2J",
    },
  ),
  badMessage("aborted", 136, "code-0", "bad-value", "Code 0 has no meaning.", [
    u16("code", 0),
    ...text("reason", ""),
  ]),

  okMessage("data", 137, 2, "An empty part says nothing and harms nothing.", [], { bytes: "" }),
  badMessage("data", 137, "too-long", "too-long", "4 GiB less a byte are announced.", [], {
    length: 0xffff_ffff,
  }),

  okMessage(
    "stored",
    138,
    3,
    "Five bytes are stored for the chunk at 1 MiB.",
    [u64("address", 1_048_576), raw("stored form", "28b52ffd00")],
    { address: 1_048_576, bytes: "28b52ffd00" },
  ),
  okMessage(
    "stored",
    138,
    3,
    "The container has no such chunk.",
    [u64("address", 1_048_576)],
    { address: 1_048_576, bytes: "" },
    "missing",
  ),
  badMessage("stored", 138, "address", "bad-value", "No multiple of 64 KiB.", [u64("address", 1)]),
  badMessage("stored", 138, "too-long", "too-long", "A byte above the bound of the largest chunk.", [], {
    length: 8 + 4_210_880 + 1,
  }),

  okMessage("damage", 139, 3, "The chunk at 1 MiB is not what the list says.", damage(4, 2, 1_048_576), {
    file: "chunk",
    what: "corrupt",
    volume: ids.volume,
    session: ids.session,
    number: 1_048_576,
  }),
  okMessage(
    "damage",
    139,
    3,
    "index.7 of a volume is nothing that anybody names.",
    [u8("file", 9), u8("what", 3), raw("volume", ids.volume), raw("session", ids.none), u64("number", 7)],
    { file: "index", what: "extra", volume: ids.volume, session: ids.none, number: 7 },
    "of-the-archive",
  ),
  badMessage("damage", 139, "file", "bad-value", "There is no sixteenth file.", damage(16, 2, 0)),
  badMessage("damage", 139, "what", "bad-value", "There are five kinds of damage.", damage(4, 6, 0)),
  badMessage("damage", 139, "address", "bad-value", "No multiple of 64 KiB.", damage(4, 2, 1)),
  badMessage("damage", 139, "too-long", "too-long", "43 bytes.", [...damage(4, 2, 0), u8("one too many", 0)]),
];
