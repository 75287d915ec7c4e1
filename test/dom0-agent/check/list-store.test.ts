// Lists in one file: what they name is found by its address, whatever their length, and what is not theirs is refused.

import { expect, test } from "vitest";
import { listStore } from "../../../dom0-agent/check/list-store.ts";
import type { OpenArchive } from "../../../dom0-agent/archive/archive.ts";
import type { Container, VolumeIndex } from "../../../protocol/archive/index-file.ts";
import { listBuilder, type ListEntry } from "../../../protocol/archive/list-file.ts";
import { sha256 } from "../../../protocol/archive/prefix.ts";
import type {
  ArchiveUuid,
  ChunkAddress,
  Generation,
  SessionUid,
  VolumeId,
} from "../../../protocol/archive/types.ts";
import { concatBytes } from "../../../protocol/bytes.ts";
import { tempDir } from "../../support/temp-dir.ts";

const chunkSize = 65_536;
const uid = (n: number): Uint8Array => new Uint8Array(16).fill(n);
const archive = uid(1) as ArchiveUuid;
const volume = uid(2) as VolumeId;

interface Made {
  readonly container: Container;
  readonly bytes: Uint8Array;
  readonly entries: readonly ListEntry[];
}

/** A list of every third chunk. */
function makeList(n: number, count: number): Made {
  const session = uid(n) as SessionUid;
  const builder = listBuilder({ archive, volume, generation: 1 as Generation, session });
  const entries = Array.from({ length: count }, (_, i) => ({
    address: (i * 3 * chunkSize) as ChunkAddress,
    storedLength: i + 1,
    checksum: sha256(Uint8Array.of(n, i & 255)),
  }));
  const records = entries.map((each) => builder.add(each));
  const { tail, digest } = builder.finish();
  const container = { uid: session, name: "S_20261126-101500", listGeneration: 0, listDigest: digest };
  return {
    container: container as unknown as Container,
    bytes: concatBytes([builder.head, ...records, tail]),
    entries,
  };
}

/** An archive that answers with these bytes, in pieces: the receiver has tests of its own. */
function archiveWith(bytes: () => Uint8Array | undefined): OpenArchive {
  const read = async (
    _: unknown,
    __: unknown,
    sink: (part: Uint8Array) => void,
  ): Promise<number | undefined> => {
    const all = bytes();
    for (let at = 0; at < (all?.length ?? 0); at += 1000)
      sink(all?.subarray(at, at + 1000) ?? new Uint8Array(0));
    return all?.length;
  };
  return { client: { read } } as unknown as OpenArchive;
}

const index = { archive, volume, name: "work" } as unknown as VolumeIndex;

test("chunks are found by address, in every list of several, and counted once", async () => {
  using directory = tempDir();
  using store = listStore(directory.path);
  const made = [makeList(3, 1), makeList(4, 0), makeList(5, 2500), makeList(6, 1024)];
  const lists = [];
  for (const { container, bytes } of made)
    lists.push(
      await store.fetch(
        archiveWith(() => bytes),
        index,
        container,
      ),
    );
  for (const [i, list] of lists.entries()) {
    const { entries } = made[i] ?? makeList(0, 0);
    expect(list.chunks).toBe(entries.length);
    for (const each of entries) expect(list.find(each.address)).toEqual(each);
    for (const at of [1, 2, 3 * entries.length])
      expect(list.find((at * chunkSize) as ChunkAddress)).toBeUndefined();
    const marked = entries.filter((_, at) => at % 2 === 0);
    for (const { address } of [...marked, ...marked]) list.mark(address);
    list.mark(chunkSize as ChunkAddress);
    expect(list.unmarked()).toBe(entries.length - marked.length);
    for (const [at, { address }] of entries.entries()) expect(list.isMarked(address)).toBe(at % 2 === 0);
  }
});

test("a list that is missing, altered, cut or of another session is an error", async () => {
  using directory = tempDir();
  using store = listStore(directory.path);
  const { container, bytes } = makeList(3, 10);
  const other = makeList(4, 10);
  const altered = bytes.slice();
  altered[200] = (altered[200] ?? 0) ^ 1;
  for (const wrong of [undefined, altered, bytes.subarray(0, 300), bytes.subarray(0, 20), other.bytes]) {
    await expect(
      store.fetch(
        archiveWith(() => wrong),
        index,
        container,
      ),
    ).rejects.toMatchObject({
      reason: "integrity",
    });
  }
  const renamed = { ...container, listDigest: other.container.listDigest };
  await expect(
    store.fetch(
      archiveWith(() => other.bytes),
      index,
      renamed,
    ),
  ).rejects.toMatchObject({
    reason: "integrity",
  });
  expect(
    (
      await store.fetch(
        archiveWith(() => bytes),
        index,
        container,
      )
    ).chunks,
  ).toBe(10);
});
