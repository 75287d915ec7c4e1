// What dead lists say of chunks, however many runs they have: what is kept of them in memory has an end.

import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { encodeDead } from "../../../protocol/archive/dead-file.ts";
import type {
  ArchiveUuid,
  ChunkAddress,
  Generation,
  SessionName,
  SessionUid,
  VolumeId,
} from "../../../protocol/archive/types.ts";
import { openAbsolute } from "../../../vm-receiver/directory.ts";
import { readTrash, type Trash } from "../../../vm-receiver/store/dead-lists.ts";
import { tempDir } from "../../support/temp-dir.ts";

const chunkSize = 131_072;
const archive = new Uint8Array(randomBytes(16)) as ArchiveUuid;
const volume = new Uint8Array(randomBytes(16)) as VolumeId;
const uid = new Uint8Array(randomBytes(16)) as SessionUid;
const other = new Uint8Array(randomBytes(16)) as SessionUid;

/** The trash of an archive with a dead list for each of these lists of runs: chunks from, and how many. */
function trashOf(lists: readonly (readonly (readonly [number, number])[])[], mostRuns?: number): Trash {
  using directory = tempDir();
  mkdirSync(join(directory.path, "dead"));
  for (const [i, runs] of lists.entries()) {
    const generation = (i + 2) as Generation;
    const chunks = runs.map(([at, count]) => ({ address: (at * chunkSize) as ChunkAddress, count }));
    const container = { uid, name: "S_20261123-101500" as SessionName, form: "dir", whole: false } as const;
    const bytes = encodeDead({
      archive,
      generation,
      createdAt: 0,
      headsBelow: 0 as Generation,
      archives: [],
      volumes: [
        {
          volume,
          directory: "work",
          removed: false,
          indexes: [],
          containers: [{ ...container, manifests: [], lists: [], chunks }],
        },
      ],
    });
    writeFileSync(join(directory.path, "dead", String(generation)), bytes);
  }
  using root = openAbsolute(directory.path);
  return readTrash(root, archive, (lists.length + 1) as Generation, mostRuns);
}

/** Numbers of the first chunks of a container that are dead. */
const deadOf = (trash: Trash, container: SessionUid): readonly number[] =>
  Array.from({ length: 12 }, (_, i) => i).filter((i) =>
    trash.isDeadChunk(volume, container, i * chunkSize, chunkSize),
  );

const lists = [
  [
    [1, 2],
    [5, 1],
  ],
  [
    [0, 1],
    [8, 3],
  ],
] as const;

test("a chunk is dead that a run of any list holds", () => {
  const trash = trashOf(lists);
  expect(deadOf(trash, uid)).toEqual([0, 1, 2, 5, 8, 9, 10]);
  expect(deadOf(trash, other)).toEqual([]);
  expect(deadOf(trashOf(lists, 4), uid)).toEqual([0, 1, 2, 5, 8, 9, 10]);
});

test("of more runs than are kept, every chunk of a container that they name may be dead, and no other", () => {
  const trash = trashOf(lists, 3);
  expect(deadOf(trash, uid)).toHaveLength(12);
  expect(deadOf(trash, other)).toEqual([]);
  expect(trash.touches(Buffer.from(volume).toString("hex"), Buffer.from(uid).toString("hex"))).toBe(true);
});
