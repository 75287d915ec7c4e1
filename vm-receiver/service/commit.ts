// The only commit: creating heads/N+1. Before that, everything that the new head names and the old one did not must be
// there, complete and with the digests that it names; and nothing that the old one named may be missing where the power is
// to add: only sparsebak.Prune lets go (design sections 6 and 7).

import {
  decodeHead,
  type Head,
  type HeadVolume,
  maxHeadBytes,
  noChain,
} from "../../protocol/archive/head.ts";
import { type Container, maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { archiveFile, fileNames, indexFile } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { Digest, Generation } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { Commit } from "../../protocol/wire/messages.ts";
import { type Directory, ensureDirectory, openIfThere } from "../directory.ts";
import { ifPossible, RefusalError } from "../errors.ts";
import { readWhole } from "../files.ts";
import { type Archive, type CurrentHead, maxArchiveHeaderBytes } from "../store/archive.ts";
import { containersOf } from "../store/containers.ts";
import { keepCopies } from "../store/copies.ts";
import { publishFile } from "../store/publish.ts";
import { writeReadme } from "../store/readme.ts";
import { temporaries } from "../store/temporaries.ts";
import { checkKept } from "./check-kept.ts";
import { checkContainer } from "./check-container.ts";
import type { Power, WriterMemory } from "./writing.ts";

/**
 * Makes the head that was put the current one. `check` is asked right before and right after: it throws where the
 * mountpoint is no longer what it was. RefusalError `stale`, `missing`, `malformed`, `corrupt`, `exists`.
 */
export async function commit(
  archive: Archive,
  memory: WriterMemory,
  asked: Commit,
  power: Power,
  check: () => void,
): Promise<CurrentHead> {
  checkBase(archive, asked);
  if (memory.headPut === undefined || !equalBytes(memory.headPut, asked.headDigest)) {
    throw new RefusalError("missing", "the head that is to be committed has not been put");
  }
  using heads = ensureDirectory(archive.root, fileNames.heads);
  const bytes = readWhole(heads, temporaries.head, maxHeadBytes);
  if (bytes === undefined || !equalBytes(fileDigest(bytes), asked.headDigest)) {
    throw new RefusalError("missing", "the head that was put is gone");
  }
  const head = decodeHead(bytes);
  checkFollows(archive, head, power);
  for (const volume of head.volumes) await checkVolume(archive, volume, head, power);
  check();
  memory.headPut = undefined;
  const current = { head, digest: asked.headDigest };
  const before = archive.current?.head;
  // From its name on it counts, whatever fails then: nothing that it names may be put again.
  publishFile(heads, temporaries.head, heads, String(head.generation), () => archive.advance(current));
  check();
  keepCopies(archive.root, current, before);
  // It is committed whatever becomes of README.txt, which a later call writes if need be.
  ifPossible(() => writeReadme(archive.root));
  return current;
}

function checkBase(archive: Archive, { base, baseDigest }: Commit): void {
  const digest = archive.current?.digest ?? (new Uint8Array(32) as Digest);
  if (base === archive.generation && equalBytes(baseDigest, digest)) return;
  throw new RefusalError(
    "stale",
    `the commit is based on head ${base}, the archive's is ${archive.generation}`,
  );
}

/** The new head carries on the old one: chain, log, header, and every volume. */
function checkFollows(archive: Archive, head: Head, power: Power): void {
  const wrong = (what: string): never => {
    throw new RefusalError("malformed", `head ${head.generation}: ${what}`);
  };
  const header = archive.header();
  if (header === undefined) throw new RefusalError("missing", "the archive has no header");
  if (!equalBytes(head.archive, header.header.uuid)) wrong("of another archive");
  const before = archive.current?.head;
  const renewed = power === "prune" && head.archiveGeneration === head.generation;
  const counts = renewed ? readNewHeader(archive, head.archiveGeneration) : header.bytes;
  const rightGeneration = renewed || head.archiveGeneration === (before?.archiveGeneration ?? 0);
  if (!equalBytes(head.archiveDigest, fileDigest(counts)) || !rightGeneration) {
    wrong("it names another archive header");
  }
  if (head.generation !== archive.generation + 1) wrong(`wanted head ${archive.generation + 1}`);
  if (!equalBytes(head.previousChain, before?.chain ?? noChain))
    wrong("its chain does not follow the current head's");
  if (before !== undefined && !equalBytes(before.log, head.log.subarray(0, before.log.length))) {
    wrong("its log does not carry on the current head's");
  }
  const named = new Map(head.volumes.map((each) => [toHex(each.volume), each]));
  for (const old of before?.volumes ?? []) {
    const now = named.get(toHex(old.volume));
    if (now === undefined && power === "add")
      wrong("a volume has gone from it, and sparsebak.Send removes nothing");
    if (now !== undefined && now.directory !== old.directory) wrong("a volume has another directory");
  }
  if (power === "prune" && head.volumes.some((each) => archive.volume(each.volume) === undefined))
    wrong("a volume has come to it, and sparsebak.Prune adds none");
}

function readNewHeader(archive: Archive, generation: Generation): Uint8Array {
  const bytes = readWhole(archive.root, archiveFile(generation), maxArchiveHeaderBytes);
  if (bytes === undefined) throw new RefusalError("missing", "the archive header has not been put");
  return bytes;
}

async function checkVolume(archive: Archive, now: HeadVolume, head: Head, power: Power): Promise<void> {
  const before = archive.volume(now.volume);
  const same =
    before !== undefined &&
    before.indexGeneration === now.indexGeneration &&
    equalBytes(before.indexDigest, now.indexDigest);
  if (same) return;
  if (now.indexGeneration !== head.generation) {
    throw new RefusalError(
      "malformed",
      `head ${head.generation}: a new index of generation ${now.indexGeneration}`,
    );
  }
  using directory = openIfThere(archive.root, now.directory);
  if (directory === undefined) throw new RefusalError("missing", "the directory of a volume is not there");
  const containers = readNewIndex(directory, now, head);
  const old = before === undefined ? [] : archive.containers(before);
  const of = { archive: head.archive, volume: now.volume };
  for (const each of checkKept(power, old, containers, head.generation)) {
    if (each.files.length > 0) await checkContainer(directory, each, of);
  }
}

function readNewIndex(directory: Directory, volume: HeadVolume, head: Head): readonly Container[] {
  const bytes = readWhole(directory, indexFile(volume.indexGeneration), maxIndexBytes);
  if (bytes === undefined) throw new RefusalError("missing", "the index of a volume has not been put");
  if (!equalBytes(fileDigest(bytes), volume.indexDigest)) {
    throw new RefusalError("malformed", "the index that was put is not the one that the head names");
  }
  const generation = volume.indexGeneration;
  return containersOf(bytes, { archive: head.archive, volume: volume.volume, generation });
}
