// Vectors of indexes.

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
  text,
  u32,
  u64,
  u8,
} from "./layout.ts";

const okIndex = accept("index");
const badIndex = reject("index");
const container = (
  uid: string,
  name: string,
  at = 4,
  over: {
    readonly form?: number;
    readonly header?: string;
    readonly listAt?: number;
    readonly manifest?: string;
  } = {},
): Field[] => [
  raw("container: session", uid),
  ...text("container: name", name),
  u8("container: form", over.form ?? 1),
  raw("container: header digest", over.header ?? digestOf("41")),
  u64("container: list generation", over.listAt ?? 0),
  raw("container: list digest", digestOf("42")),
  u64("container: manifest generation", at),
  raw("container: manifest digest", over.manifest ?? (at === 0 ? ids.noDigest : digestOf("43"))),
  u64("container: chunks", 12),
  u64("container: stored bytes", 345_678),
];
const session = (
  uid: string,
  sequence: number,
  over: {
    readonly consistency?: number;
    readonly tags?: readonly string[];
    readonly count?: number;
    readonly size?: number;
    readonly takenAt?: number;
  } = {},
): Field[] => [
  raw("session", uid),
  u64("session: sequence", sequence),
  u64("session: taken at", over.takenAt ?? takenAt),
  u64("session: size", over.size ?? 10 * 2 ** 30),
  raw("session: map root", digestOf("44")),
  u8("session: consistency", over.consistency ?? 2),
  u8("session: protected", 0),
  u32("session: tags", over.count ?? over.tags?.length ?? 0),
  ...(over.tags ?? []).flatMap((each) => text("session: tag", each)),
];
interface IndexFields {
  readonly prefix?: Partial<PrefixFields>;
  readonly containers?: readonly (readonly Field[])[];
  readonly name?: string;
  readonly sessions?: readonly (readonly Field[])[];
  readonly sessionCount?: number;
}
const index = (of: IndexFields = {}): Field[] => {
  const containers = of.containers ?? [container(ids.session, "S_20261123-101500")];
  const sessions = of.sessions ?? [session(ids.session, 1)];
  return closed([
    ...prefix({ kind: 4, generation: 4, ...of.prefix }),
    u32("containers", containers.length),
    ...containers.flat(),
    ...text("volume's name", of.name ?? "vm-work-private"),
    raw("group", ids.group),
    u32("sessions", of.sessionCount ?? sessions.length),
    ...sessions.flat(),
  ]);
};
const containerValue = {
  uid: ids.session,
  name: "S_20261123-101500",
  form: "dir",
  headerDigest: digestOf("41"),
  listGeneration: 0,
  listDigest: digestOf("42"),
  manifestGeneration: 4,
  manifestDigest: digestOf("43"),
  chunks: 12,
  storedBytes: 345_678,
};
const sessionValue = {
  uid: ids.session,
  sequence: 1,
  takenAt,
  size: 10 * 2 ** 30,
  mapRoot: digestOf("44"),
  consistency: "crash",
  protected: false,
  tags: [],
};
const indexValue = {
  archive: ids.archive,
  volume: ids.volume,
  generation: 4,
  containers: [containerValue],
  name: "vm-work-private",
  group: ids.group,
  sessions: [sessionValue],
};
export const indexCases: readonly Case[] = [
  okIndex("one-session", "A volume that was sent once.", index(), indexValue, {
    archive: ids.archive,
    volume: ids.volume,
    generation: 4,
  }),
  okIndex(
    "pruned-container",
    "The first session was pruned and still holds living chunks; the second is a tar with tags.",
    index({
      containers: [
        container(ids.session, "S_20261123-101500", 0),
        container(ids.otherSession, "S_20261123-111500", 4, { form: 2 }),
      ],
      name: "appvms/work/private.img",
      sessions: [session(ids.otherSession, 2, { tags: ["before-upgrade", "v4.3"], consistency: 4 })],
    }),
    {
      ...indexValue,
      containers: [
        { ...containerValue, manifestGeneration: 0, manifestDigest: ids.noDigest },
        { ...containerValue, uid: ids.otherSession, name: "S_20261123-111500", form: "tar" },
      ],
      name: "appvms/work/private.img",
      sessions: [
        {
          ...sessionValue,
          uid: ids.otherSession,
          sequence: 2,
          consistency: "file",
          tags: ["before-upgrade", "v4.3"],
        },
      ],
    },
  ),
  okIndex(
    "salvaged-container",
    "What an interrupted session has left: chunks, and nothing that says what they meant. Its list is of head 3.",
    index({
      containers: [
        container(ids.session, "S_20261123-101500"),
        container(ids.otherSession, "S_20261123-111500", 0, { header: ids.noDigest, listAt: 3 }),
      ],
    }),
    {
      ...indexValue,
      containers: [
        containerValue,
        {
          ...containerValue,
          uid: ids.otherSession,
          name: "S_20261123-111500",
          headerDigest: ids.noDigest,
          listGeneration: 3,
          manifestGeneration: 0,
          manifestDigest: ids.noDigest,
        },
      ],
    },
  ),
  badIndex(
    "manifest-without-header",
    "bad-value",
    "A manifest of what never had a session.",
    index({ containers: [container(ids.session, "S_20261123-101500", 4, { header: ids.noDigest })] }),
  ),
  badIndex(
    "later-list",
    "bad-value",
    "A list of a later head.",
    index({ containers: [container(ids.session, "S_20261123-101500", 4, { listAt: 5 })] }),
  ),
  badIndex("no-container", "bad-value", "A session without files.", index({ containers: [] })),
  badIndex(
    "no-manifest",
    "bad-value",
    "A session whose manifest was pruned.",
    index({ containers: [container(ids.session, "S_20261123-101500", 0)] }),
  ),
  badIndex(
    "digest-of-no-manifest",
    "bad-value",
    "A pruned container with the digest of a manifest.",
    index({
      containers: [container(ids.session, "S_20261123-101500", 0, { manifest: digestOf("43") })],
      sessions: [],
    }),
  ),
  badIndex(
    "container-twice",
    "bad-value",
    "One session's files twice.",
    index({
      containers: [container(ids.session, "S_20261123-101500"), container(ids.session, "S_20261123-101501")],
    }),
  ),
  badIndex(
    "name-twice",
    "bad-value",
    "Two sessions of one name.",
    index({
      containers: [
        container(ids.session, "S_20261123-101500"),
        container(ids.otherSession, "S_20261123-101500"),
      ],
    }),
  ),
  badIndex(
    "session-twice",
    "bad-value",
    "One session as two.",
    index({ sessions: [session(ids.session, 1), session(ids.session, 2)] }),
  ),
  badIndex(
    "order",
    "bad-order",
    "Sequence 0 is below the first.",
    index({ sessions: [session(ids.session, 0)] }),
  ),
  badIndex(
    "later-manifest",
    "bad-value",
    "A manifest of a later head.",
    index({ containers: [container(ids.session, "S_20261123-101500", 5)] }),
  ),
  badIndex(
    "generation-0",
    "bad-value",
    "An index from before the first head.",
    index({ prefix: { generation: 0 }, containers: [], sessions: [] }),
  ),
  badIndex(
    "form",
    "bad-value",
    "There are two forms.",
    index({ containers: [container(ids.session, "S_20261123-101500", 4, { form: 0 })] }),
  ),
  badIndex(
    "consistency",
    "bad-value",
    "There are four consistencies.",
    index({ sessions: [session(ids.session, 1, { consistency: 5 })] }),
  ),
  badIndex(
    "size",
    "bad-value",
    "Above 2^50 bytes.",
    index({ sessions: [session(ids.session, 1, { size: 2 ** 50 + 1 })] }),
  ),
  badIndex(
    "taken-at",
    "bad-value",
    "The first millisecond of the year 10000.",
    index({ sessions: [session(ids.session, 1, { takenAt: afterMaxTime })] }),
  ),
  badIndex(
    "tag",
    "bad-value",
    "A tag with a space.",
    index({ sessions: [session(ids.session, 1, { tags: ["a b"] })] }),
  ),
  badIndex(
    "empty-tag",
    "bad-value",
    "A tag of no letters.",
    index({ sessions: [session(ids.session, 1, { tags: [""] })] }),
  ),
  badIndex(
    "seventeen-tags",
    "too-long",
    "Seventeen tags are announced.",
    index({ sessions: [session(ids.session, 1, { count: 17 })] }),
  ),
  badIndex(
    "session-count",
    "too-long",
    "More sessions than an index may have.",
    index({ sessionCount: 262_145, sessions: [] }),
  ),
  badIndex("name-dotdot", "bad-value", "A volume's name that leads upwards.", index({ name: "a/../b" })),
  badIndex("name-absolute", "bad-value", "An absolute path.", index({ name: "/a" })),
  badIndex(
    "name-behind-u2028",
    "bad-value",
    "A line separator must not hide what lies behind it.",
    index({ name: "a\u2028/../b" }),
  ),
  badIndex("name-empty", "bad-value", "No name.", index({ name: "" })),
  badIndex("sealed", "bad-value", "A sealed index: a key is needed.", index({ prefix: { protection: 1 } })),
  badIndex("other-volume", "bad-value", "Another volume's index.", index(), { volume: ids.group }),
];
