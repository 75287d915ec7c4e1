// Vectors of a tar's last member, which says where everything lies.

import {
  type Case,
  closed,
  type Field,
  ids,
  join,
  prefix,
  type PrefixFields,
  raw,
  u64,
  zeros,
  type Given,
  structureCase,
} from "./layout.ts";

interface FooterFields {
  readonly magic?: string;
  readonly recordsOffset?: number;
  readonly count?: number;
  readonly manifest?: readonly [number, number];
  readonly header?: readonly [number, number];
  readonly list?: readonly [number, number];
  readonly manifestAt?: number;
  readonly padding?: string;
  readonly fileSize?: number;
  readonly prefix?: Partial<PrefixFields>;
}
// A tar with one chunk: its member takes 512 + 512 bytes, manifest, header and list 512 + 512 each, then offsets.
const offsets = (of: FooterFields = {}): { readonly fields: Field[]; readonly fileSize: number } => {
  const memberAt = 4096 + 512;
  const start = [...prefix({ kind: 8, generation: 4, ...of.prefix }), raw("session", ids.session)];
  const records = [u64("address", 1_048_576), u64("offset", 512)];
  const used = join([...start, ...records]).length;
  const before = [
    ...start,
    ...records,
    zeros("padding to a multiple of 512", (512 - (used % 512)) % 512),
    raw("footer: magic SPBKTAR LF", of.magic ?? "5350424b5441520a"),
    u64("footer: records' offset", of.recordsOffset ?? memberAt + join(start).length),
    u64("footer: records", of.count ?? 1),
    u64("footer: manifest's offset", of.manifest?.[0] ?? 1536),
    u64("footer: manifest's length", of.manifest?.[1] ?? 234),
    u64("footer: header's offset", of.header?.[0] ?? 2560),
    u64("footer: header's length", of.header?.[1] ?? 226),
    u64("footer: list's offset", of.list?.[0] ?? 3584),
    u64("footer: list's length", of.list?.[1] ?? 170),
    u64("footer: manifest's generation", of.manifestAt ?? 4),
    raw("footer: zeros", of.padding ?? "00".repeat(400)),
  ];
  const fields = closed(before);
  return { fields, fileSize: of.fileSize ?? memberAt + join(fields).length + 1024 };
};
const good = offsets();
const salvaged = offsets({ manifest: [0, 0], header: [0, 0], manifestAt: 0 });
const badOffsets = (
  why: string,
  expected: string,
  comment: string,
  of: FooterFields,
  given: Given = {},
): Case => {
  const { fields, fileSize } = offsets(of);
  return structureCase("offsets", why, expected, comment, fields, undefined, {
    "file-size": fileSize,
    ...given,
  });
};
export const offsetsCases: readonly Case[] = [
  structureCase(
    "offsets",
    "one-chunk",
    "ok",
    "The last member of a tar that holds one chunk.",
    good.fields,
    {
      archive: ids.archive,
      volume: ids.volume,
      generation: 4,
      session: ids.session,
      records: [{ address: 1_048_576, offset: 512 }],
      footer: {
        recordsOffset: 4096 + 512 + 86,
        records: 1,
        manifest: { offset: 1536, length: 234 },
        header: { offset: 2560, length: 226 },
        list: { offset: 3584, length: 170 },
        manifestGeneration: 4,
      },
    },
    { "file-size": good.fileSize, session: ids.session },
  ),
  structureCase(
    "offsets",
    "salvaged",
    "ok",
    "The tar of a container that never had a session: neither manifest nor header.",
    salvaged.fields,
    {
      records: [{ address: 1_048_576, offset: 512 }],
      footer: {
        recordsOffset: 4096 + 512 + 86,
        records: 1,
        manifest: { offset: 0, length: 0 },
        header: { offset: 0, length: 0 },
        list: { offset: 3584, length: 170 },
        manifestGeneration: 0,
      },
    },
    { "file-size": salvaged.fileSize, session: ids.session },
  ),
  badOffsets("no-manifest", "bad-value", "A header without a manifest.", { manifest: [0, 0], manifestAt: 0 }),
  badOffsets("no-list", "bad-value", "Every container has a list.", { list: [0, 0] }),
  badOffsets("generation-of-nothing", "bad-value", "The generation of no manifest.", {
    manifest: [0, 0],
    header: [0, 0],
  }),
  badOffsets("magic", "bad-magic", "Not the end of a finished session.", { magic: "5350424b5441520d" }),
  badOffsets("count", "bad-value", "Records that don't end where the footer begins.", { count: 100 }),
  badOffsets("records-offset", "bad-value", "Records somewhere else.", { recordsOffset: 512 }),
  badOffsets("manifest-late", "bad-value", "The manifest behind the header.", { manifest: [2560, 234] }),
  badOffsets("list-long", "bad-value", "A list that reaches into the next member.", { list: [3584, 513] }),
  badOffsets("member-odd", "bad-value", "A member that does not begin at a block.", { header: [2561, 226] }),
  badOffsets("manifest-in-header", "bad-value", "A member where the first header of the tar must be.", {
    manifest: [0, 234],
  }),
  badOffsets("footer-padding", "bad-value", "A byte that must be zero.", {
    padding: `${"00".repeat(399)}01`,
  }),
  badOffsets("file-size", "truncated", "A tar that is cut in the middle of a block.", {
    fileSize: good.fileSize - 1,
  }),
  badOffsets("sealed", "bad-value", "Offsets are never sealed.", { prefix: { protection: 1 } }),
  badOffsets("other-session", "bad-value", "Another session's offsets.", {}, { session: ids.otherSession }),
];
