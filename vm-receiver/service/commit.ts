// The only commit: creating heads/N+1. Before that, everything that the new head names and the old one did not must be
// there, complete and with the digests that it names; and nothing that the old one named may be missing, because
// sparsebak.Send adds and never removes (design sections 6 and 7).

import {
  decodeHead,
  type Head,
  type HeadVolume,
  maxHeadBytes,
  noChain,
} from "../../protocol/archive/head.ts";
import { type Container, maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { fileNames, indexFile } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { Digest } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { Commit } from "../../protocol/wire/messages.ts";
import { type Directory, ensureDirectory, openIfThere } from "../directory.ts";
import { RefusalError, unless } from "../errors.ts";
import { readWhole } from "../files.ts";
import type { Archive, CurrentHead } from "../store/archive.ts";
import { containersOf } from "../store/containers.ts";
import { publishFile } from "../store/publish.ts";
import { writeReadme } from "../store/readme.ts";
import { temporaries } from "../store/temporaries.ts";
import { checkContainer } from "./check-container.ts";
import type { WriterMemory } from "./put-file.ts";

/**
 * Makes the head that was put the current one. `check` is asked right before and right after: it throws where the
 * mountpoint is no longer what it was. RefusalError `stale`, `missing`, `malformed`, `corrupt`, `exists`.
 */
export async function commit(
  archive: Archive,
  memory: WriterMemory,
  asked: Commit,
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
  checkFollows(archive, head);
  for (const volume of head.volumes) await checkVolume(archive, volume, head);
  check();
  memory.headPut = undefined;
  publishFile(heads, temporaries.head, heads, String(head.generation));
  check();
  const current = { head, digest: asked.headDigest };
  archive.advance(current);
  // It is committed whatever becomes of README.txt, which a later call writes if need be.
  unless(["ENOSPC", "EDQUOT"], () => writeReadme(archive.root));
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
function checkFollows(archive: Archive, head: Head): void {
  const wrong = (what: string): never => {
    throw new RefusalError("malformed", `head ${head.generation}: ${what}`);
  };
  const header = archive.header();
  if (header === undefined) throw new RefusalError("missing", "the archive has no header");
  if (!equalBytes(head.archive, header.header.uuid)) wrong("of another archive");
  if (!equalBytes(head.archiveDigest, fileDigest(header.bytes)) || head.archiveGeneration !== 0) {
    wrong("it names another archive header");
  }
  const before = archive.current?.head;
  if (head.generation !== archive.generation + 1) wrong(`wanted head ${archive.generation + 1}`);
  if (!equalBytes(head.previousChain, before?.chain ?? noChain))
    wrong("its chain does not follow the current head's");
  if (before?.log.some((entry, i) => !equalBytes(entry, head.log[i] ?? new Uint8Array(0))) === true) {
    wrong("its log does not carry on the current head's");
  }
  const named = new Map(head.volumes.map((each) => [toHex(each.volume), each]));
  for (const old of before?.volumes ?? []) {
    const now = named.get(toHex(old.volume));
    if (now === undefined) wrong("a volume has gone from it, and sparsebak.Send removes nothing");
    else if (now.directory !== old.directory) wrong("a volume has another directory");
  }
}

async function checkVolume(archive: Archive, now: HeadVolume, head: Head): Promise<void> {
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
  checkKept(old, containers);
  const known = new Set(old.map((each) => toHex(each.uid)));
  for (const each of containers) {
    if (!known.has(toHex(each.uid))) {
      await checkContainer(directory, each, { archive: head.archive, volume: now.volume });
    }
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

/** Every session of the old index is in the new one, unchanged. */
function checkKept(old: readonly Container[], now: readonly Container[]): void {
  const byUid = new Map(now.map((each) => [toHex(each.uid), each]));
  for (const before of old) {
    const after = byUid.get(toHex(before.uid));
    if (after === undefined) {
      throw new RefusalError(
        "malformed",
        "a session has gone from an index, and sparsebak.Send removes nothing",
      );
    }
    if (!sameContainer(before, after))
      throw new RefusalError("malformed", "a session that was there has been changed");
  }
}

function sameContainer(a: Container, b: Container): boolean {
  return (
    a.name === b.name &&
    a.form === b.form &&
    a.chunks === b.chunks &&
    a.storedBytes === b.storedBytes &&
    a.listGeneration === b.listGeneration &&
    a.manifestGeneration === b.manifestGeneration &&
    equalBytes(a.headerDigest, b.headerDigest) &&
    equalBytes(a.listDigest, b.listDigest) &&
    equalBytes(a.manifestDigest, b.manifestDigest)
  );
}
