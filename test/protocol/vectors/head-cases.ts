// Vectors of heads.

import { createHash } from "node:crypto";
import {
  accept,
  afterMaxTime,
  type Case,
  closed,
  digestOf,
  type Field,
  ids,
  join,
  prefix,
  type PrefixFields,
  raw,
  reject,
  takenAt,
  u32,
  u64,
  u8,
  text,
} from "./layout.ts";

const okHead = accept("head");
const badHead = reject("head");
const volume = (id: string, directory: string, at = 1): Field[] => [
  raw("volume", id),
  ...text("directory", directory),
  u64("index generation", at),
  raw("index digest", digestOf("1d")),
];
interface HeadFields {
  readonly prefix?: Partial<PrefixFields>;
  readonly generation?: number;
  readonly createdAt?: number;
  readonly archiveGeneration?: number;
  readonly volumes?: readonly (readonly Field[])[];
  readonly previous?: string;
  readonly chain?: string;
  readonly log?: readonly Field[];
  readonly count?: number;
}
const logOf = (count: number): Field[] =>
  Array.from({ length: count }, (_, i) => raw(`log: ${i + 1}`, digestOf("10").slice(0, 16)));
const head = (of: HeadFields = {}): Field[] => {
  const generation = of.generation ?? 1;
  const previous = of.previous ?? (generation === 1 ? ids.noDigest : digestOf("c0"));
  const volumes = of.volumes ?? [];
  const log = of.log ?? logOf(generation);
  const body = [
    u64("created at", of.createdAt ?? takenAt),
    u64("archive generation", of.archiveGeneration ?? 0),
    raw("archive digest", digestOf("a7")),
    u32("volumes", volumes.length),
    ...volumes.flat(),
  ];
  const chain = createHash("sha256")
    .update("sparsebak chain v1")
    .update(Buffer.from(ids.archive, "hex"))
    .update(u64("generation", generation)[1])
    .update(Buffer.from(previous, "hex"))
    .update(join(body))
    .digest("hex");
  return closed([
    ...prefix({ kind: 2, volume: ids.none, generation, ...of.prefix }),
    ...body,
    raw("chain before", previous),
    raw("chain", of.chain ?? chain),
    u32("log entries", of.count ?? log.length),
    ...log,
    raw("MAC", digestOf("6d")),
  ]);
};
const chainIn = (fields: readonly Field[]): string =>
  fields.find(([label]) => label === "chain")?.[1].toString("hex") ?? "";
const firstHead = head();
const secondHead = head({
  generation: 2,
  volumes: [volume(ids.volume, "vm-work-private", 2), volume(ids.session, "%48eads", 1)],
});
export const headCases: readonly Case[] = [
  okHead(
    "first",
    "An archive that was just made: no volumes.",
    firstHead,
    {
      archive: ids.archive,
      generation: 1,
      createdAt: takenAt,
      archiveGeneration: 0,
      archiveDigest: digestOf("a7"),
      volumes: [],
      previousChain: ids.noDigest,
      chain: chainIn(firstHead),
      log: digestOf("10").slice(0, 16),
      mac: digestOf("6d"),
    },
    { archive: ids.archive, generation: 1 },
  ),
  okHead("two-volumes", "Volumes in the order of their ids.", secondHead, {
    archive: ids.archive,
    generation: 2,
    createdAt: takenAt,
    archiveGeneration: 0,
    archiveDigest: digestOf("a7"),
    volumes: [
      { volume: ids.volume, directory: "vm-work-private", indexGeneration: 2, indexDigest: digestOf("1d") },
      { volume: ids.session, directory: "%48eads", indexGeneration: 1, indexDigest: digestOf("1d") },
    ],
    previousChain: digestOf("c0"),
    chain: chainIn(secondHead),
    log: digestOf("10").slice(0, 32),
    mac: digestOf("6d"),
  }),
  badHead("chain", "bad-digest", "The chain does not follow from the body.", head({ chain: digestOf("00") })),
  badHead(
    "previous-of-first",
    "bad-value",
    "A chain before the first head.",
    head({ previous: digestOf("c0") }),
  ),
  badHead("generation-0", "bad-value", "There is no head 0.", head({ generation: 0, log: [] })),
  badHead("short-log", "bad-value", "Head 2 with one entry of log.", head({ generation: 2, log: logOf(1) })),
  badHead("log-count", "too-long", "More entries than a log may have.", head({ count: 1_048_577 })),
  badHead(
    "log-missing",
    "truncated",
    "A million entries are announced, and not there.",
    head({ count: 1_048_576 }),
  ),
  badHead(
    "order",
    "bad-order",
    "Volumes in falling order.",
    head({ generation: 2, volumes: [volume(ids.session, "a"), volume(ids.volume, "b")] }),
  ),
  badHead(
    "volume-twice",
    "bad-order",
    "One volume twice.",
    head({ volumes: [volume(ids.volume, "a"), volume(ids.volume, "b")] }),
  ),
  badHead(
    "directory-twice",
    "bad-value",
    "Two volumes whose directories differ in case only.",
    head({ volumes: [volume(ids.volume, "a"), volume(ids.session, "A")] }),
  ),
  badHead(
    "reserved-directory",
    "bad-value",
    "A volume in `trash`.",
    head({ volumes: [volume(ids.volume, "trash")] }),
  ),
  badHead(
    "later-index",
    "bad-value",
    "An index of a later head.",
    head({ volumes: [volume(ids.volume, "a", 2)] }),
  ),
  badHead(
    "index-0",
    "bad-value",
    "An index from before the first head.",
    head({ volumes: [volume(ids.volume, "a", 0)] }),
  ),
  badHead("later-archive", "bad-value", "An archive header of a later head.", head({ archiveGeneration: 2 })),
  badHead(
    "created-at",
    "bad-value",
    "The first millisecond of the year 10000.",
    head({ createdAt: afterMaxTime }),
  ),
  badHead("sealed", "bad-value", "A head is never sealed.", head({ prefix: { protection: 1 } })),
  badHead("other-kind", "bad-value", "An index under a head's name.", head({ prefix: { kind: 4 } })),
  badHead("other-generation", "bad-value", "Head 1 under the name of head 2.", firstHead, { generation: 2 }),
  badHead(
    "trailing",
    "trailing",
    "A byte between MAC and digest.",
    closed([...firstHead.slice(0, -1), u8("one too many", 0)]),
  ),
  badHead("digest", "bad-digest", "The digest is of other bytes.", [
    ...firstHead.slice(0, -1),
    raw("SHA-256 of something else", digestOf("00")),
  ]),
];
