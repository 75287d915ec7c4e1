// Vectors of the headers of sessions.

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
  u16,
  u32,
  u64,
  u8,
  text,
} from "./layout.ts";

const okSession = accept("session-header");
const badSession = reject("session-header");
interface SessionFields {
  readonly prefix?: Partial<PrefixFields>;
  readonly sequence?: number;
  readonly name?: string;
  readonly takenAt?: number;
  readonly size?: number;
  readonly chunkSize?: number;
  readonly consistency?: number;
}
const sessionHeader = (of: SessionFields = {}): Field[] =>
  closed([
    ...prefix({ kind: 5, generation: 4, ...of.prefix }),
    raw("session", ids.session),
    u64("sequence", of.sequence ?? 1),
    ...text("name", of.name ?? "S_20261123-101500"),
    ...text("volume's name", "vm-work-private"),
    u64("taken at", of.takenAt ?? takenAt),
    u64("size", of.size ?? 10 * 2 ** 30),
    u32("chunk size", of.chunkSize ?? 131_072),
    u8("consistency", of.consistency ?? 1),
    raw("map root", digestOf("44")),
  ]);
export const sessionCases: readonly Case[] = [
  okSession("plain", "A session of a volume that nothing wrote to.", sessionHeader(), {
    archive: ids.archive,
    volume: ids.volume,
    generation: 4,
    uid: ids.session,
    sequence: 1,
    name: "S_20261123-101500",
    volumeName: "vm-work-private",
    takenAt,
    size: 10 * 2 ** 30,
    chunkSize: 131_072,
    consistency: "clean",
    mapRoot: digestOf("44"),
  }),
  badSession("sequence", "bad-value", "Sequences begin with 1.", sessionHeader({ sequence: 0 })),
  badSession("name", "too-long", "18 bytes of name.", sessionHeader({ name: "S_20261123-1015000" })),
  badSession("short-name", "bad-value", "16 bytes of name.", sessionHeader({ name: "S_20261123-10150" })),
  badSession(
    "taken-at",
    "bad-value",
    "The first millisecond of the year 10000.",
    sessionHeader({ takenAt: afterMaxTime }),
  ),
  badSession("size", "bad-value", "Above 2^50 bytes.", sessionHeader({ size: 2 ** 50 + 1 })),
  badSession("chunk-size", "bad-value", "One byte less than 128 KiB.", sessionHeader({ chunkSize: 131_071 })),
  badSession("consistency", "bad-value", "0 has no meaning.", sessionHeader({ consistency: 0 })),
  badSession(
    "sealed",
    "bad-value",
    "A sealed header: a key is needed.",
    sessionHeader({ prefix: { protection: 1 } }),
  ),
  badSession(
    "trailing",
    "trailing",
    "Two bytes before the digest.",
    closed([...sessionHeader().slice(0, -1), u16("two too many", 0)]),
  ),
  badSession(
    "cut",
    "bad-digest",
    "The last field is gone, and so the digest fits nothing.",
    sessionHeader().filter(([label]) => label !== "map root"),
  ),
];
