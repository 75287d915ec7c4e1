// Vectors of lists.

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

const listRecord = (address: number, length = 5000): Field[] => [
  u64("address", address),
  u32("stored length", length),
  raw("checksum", digestOf("5a")),
];
const list = (
  records: readonly (readonly Field[])[],
  over: { readonly prefix?: Partial<PrefixFields>; readonly count?: number } = {},
): Field[] =>
  closed([
    ...prefix({ kind: 7, generation: 4, ...over.prefix }),
    raw("session", ids.session),
    ...records.flat(),
    u64("count", over.count ?? records.length),
  ]);
const badList = (
  why: string,
  expected: string,
  comment: string,
  fields: readonly Field[],
  given: Given = {},
): Case => structureCase("list", why, expected, comment, fields, undefined, given);
export const listCases: readonly Case[] = [
  structureCase(
    "list",
    "empty",
    "ok",
    "A session that stored nothing.",
    list([]),
    { entries: [] },
    { session: ids.session },
  ),
  structureCase(
    "list",
    "two-chunks",
    "ok",
    "Two chunks, in the order of their addresses.",
    list([listRecord(65_536, 1), listRecord(1_048_576, 4_210_880)]),
    {
      entries: [
        { address: 65_536, storedLength: 1, checksum: digestOf("5a") },
        { address: 1_048_576, storedLength: 4_210_880, checksum: digestOf("5a") },
      ],
    },
  ),
  badList("order", "bad-order", "Falling addresses.", list([listRecord(65_536), listRecord(0)])),
  badList("twice", "bad-order", "An address twice.", list([listRecord(0), listRecord(0)])),
  badList("address", "bad-value", "No multiple of 64 KiB.", list([listRecord(1)])),
  badList("stored-length-0", "bad-value", "Nothing is stored in no bytes.", list([listRecord(0, 0)])),
  badList(
    "stored-length",
    "bad-value",
    "A byte above the largest stored form.",
    list([listRecord(0, 4_210_881)]),
  ),
  badList(
    "count",
    "bad-digest",
    "A count of other records, under a digest that fits it.",
    list([listRecord(0)], { count: 2 }),
  ),
  badList(
    "half-a-record",
    "truncated",
    "43 bytes of record.",
    closed([...list([]).slice(0, -2), zeros("half a record", 43), u64("count", 1)]),
  ),
  badList("sealed", "bad-value", "A list is never sealed.", list([], { prefix: { protection: 1 } })),
  badList("other-session", "bad-value", "Another session's list.", list([]), { session: ids.otherSession }),
  badList("other-kind", "bad-value", "A manifest under a list's name.", list([], { prefix: { kind: 6 } })),
];
