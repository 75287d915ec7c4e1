// Vectors of dead lists.

import {
  accept,
  afterMaxTime,
  type Case,
  closed,
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

const okDead = accept("dead");
const badDead = reject("dead");

const numbers = (label: string, all: readonly number[]): Field[] => [
  u32(label, all.length),
  ...all.map((each) => u64(`${label}: generation`, each)),
];
interface ContainerFields {
  readonly uid?: string;
  readonly name?: string;
  readonly form?: number;
  readonly whole?: number;
  readonly manifests?: readonly number[];
  readonly lists?: readonly number[];
  /** Address and chunks of each run. */
  readonly runs?: readonly (readonly [number, number])[];
}
const container = (of: ContainerFields): Field[] => [
  raw("container: session", of.uid ?? ids.session),
  ...text("container: name", of.name ?? "S_20261123-101500"),
  u8("container: form", of.form ?? 1),
  u8("container: whole", of.whole ?? 0),
  ...numbers("container: manifests", of.manifests ?? []),
  ...numbers("container: lists", of.lists ?? []),
  u32("container: runs", of.runs?.length ?? 0),
  ...(of.runs ?? []).flatMap(([address, count]) => [u64("run: address", address), u32("run: chunks", count)]),
];
interface VolumeFields {
  readonly volume?: string;
  readonly removed?: number;
  readonly indexes?: readonly number[];
  readonly containers?: readonly (readonly Field[])[];
}
const volume = (of: VolumeFields): Field[] => [
  raw("volume", of.volume ?? ids.volume),
  ...text("directory", "vm-work-private"),
  u8("removed", of.removed ?? 0),
  ...numbers("indexes", of.indexes ?? []),
  u32("containers", of.containers?.length ?? 0),
  ...(of.containers ?? []).flat(),
];
interface DeadFields {
  readonly prefix?: Partial<PrefixFields>;
  readonly createdAt?: number;
  readonly volumes?: readonly (readonly Field[])[];
  readonly headsBelow?: number;
  readonly archives?: readonly number[];
}
const dead = (of: DeadFields = {}): Field[] =>
  closed([
    ...prefix({ kind: 3, volume: ids.none, generation: 4, ...of.prefix }),
    u64("created at", of.createdAt ?? takenAt),
    u32("volumes", of.volumes?.length ?? 0),
    ...(of.volumes ?? []).flat(),
    u64("heads below", of.headsBelow ?? 4),
    ...numbers("archives", of.archives ?? []),
  ]);

const value = {
  archive: ids.archive,
  generation: 4,
  createdAt: takenAt,
  volumes: [],
  headsBelow: 4,
  archives: [],
};
const whole = { manifests: [], lists: [], chunks: [] };

export const deadCases: readonly Case[] = [
  okDead("nothing", "A step after which only older heads go.", dead(), value, {
    archive: ids.archive,
    generation: 4,
  }),
  okDead(
    "pruned",
    "One session goes whole, of another only chunks, its first list and a manifest; and an old index.",
    dead({
      volumes: [
        volume({
          indexes: [1, 3],
          containers: [
            container({ whole: 1 }),
            container({
              uid: ids.otherSession,
              name: "S_20261123-111500",
              form: 2,
              manifests: [2],
              lists: [0],
              runs: [
                [0, 2],
                [1_048_576, 1],
              ],
            }),
          ],
        }),
      ],
    }),
    {
      ...value,
      volumes: [
        {
          volume: ids.volume,
          directory: "vm-work-private",
          removed: false,
          indexes: [1, 3],
          containers: [
            { uid: ids.session, name: "S_20261123-101500", form: "dir", whole: true, ...whole },
            {
              uid: ids.otherSession,
              name: "S_20261123-111500",
              form: "tar",
              whole: false,
              manifests: [2],
              lists: [0],
              chunks: [
                { address: 0, count: 2 },
                { address: 1_048_576, count: 1 },
              ],
            },
          ],
        },
      ],
    },
  ),
  okDead(
    "deleted",
    "A volume goes with its directory; key slots were changed.",
    dead({ volumes: [volume({ removed: 1 })], headsBelow: 0, archives: [0, 2] }),
    {
      ...value,
      volumes: [
        { volume: ids.volume, directory: "vm-work-private", removed: true, indexes: [], containers: [] },
      ],
      headsBelow: 0,
      archives: [0, 2],
    },
  ),
  badDead(
    "generation-0",
    "bad-value",
    "Before the first head.",
    dead({ prefix: { generation: 0 }, headsBelow: 0 }),
  ),
  badDead("heads", "bad-value", "The head that it was written for would go.", dead({ headsBelow: 5 })),
  badDead(
    "created-at",
    "bad-value",
    "The first millisecond of the year 10000.",
    dead({ createdAt: afterMaxTime }),
  ),
  badDead("archives", "bad-order", "An archive header that is not there yet.", dead({ archives: [4] })),
  badDead(
    "volumes",
    "bad-order",
    "A volume twice.",
    dead({ volumes: [volume({ indexes: [1] }), volume({ indexes: [2] })] }),
  ),
  badDead(
    "removed-and-more",
    "bad-value",
    "A directory that goes, and a file of it.",
    dead({ volumes: [volume({ removed: 1, indexes: [1] })] }),
  ),
  badDead("indexes", "bad-order", "Falling generations.", dead({ volumes: [volume({ indexes: [3, 1] })] })),
  badDead(
    "own-index",
    "bad-order",
    "The index of its own head.",
    dead({ volumes: [volume({ indexes: [4] })] }),
  ),
  badDead(
    "container-twice",
    "bad-value",
    "One container twice.",
    dead({ volumes: [volume({ containers: [container({ whole: 1 }), container({ whole: 1 })] })] }),
  ),
  badDead(
    "nothing-of-a-container",
    "bad-value",
    "A container of which nothing goes.",
    dead({ volumes: [volume({ containers: [container({})] })] }),
  ),
  badDead(
    "whole-and-more",
    "bad-value",
    "All of a container, and a list of it.",
    dead({ volumes: [volume({ containers: [container({ whole: 1, lists: [0] })] })] }),
  ),
  badDead(
    "own-manifest",
    "bad-order",
    "A manifest that this head brings.",
    dead({ volumes: [volume({ containers: [container({ manifests: [4] })] })] }),
  ),
  badDead(
    "empty-run",
    "bad-value",
    "A run of no chunks.",
    dead({ volumes: [volume({ containers: [container({ runs: [[0, 0]] })] })] }),
  ),
  badDead(
    "runs-overlap",
    "bad-order",
    "The second run begins inside the first, whatever the chunk size.",
    dead({
      volumes: [
        volume({
          containers: [
            container({
              runs: [
                [0, 2],
                [65_536, 1],
              ],
            }),
          ],
        }),
      ],
    }),
  ),
  badDead(
    "address",
    "bad-value",
    "No multiple of 64 KiB.",
    dead({ volumes: [volume({ containers: [container({ runs: [[1, 1]] })] })] }),
  ),
  badDead(
    "form",
    "bad-value",
    "There are two forms.",
    dead({ volumes: [volume({ containers: [container({ whole: 1, form: 3 })] })] }),
  ),
  badDead("sealed", "bad-value", "A dead list is never sealed.", dead({ prefix: { protection: 1 } })),
  badDead("of-a-volume", "bad-value", "It belongs to no volume.", dead({ prefix: { volume: ids.volume } })),
  badDead("other-archive", "bad-value", "Another archive's.", dead(), { archive: ids.group }),
];
