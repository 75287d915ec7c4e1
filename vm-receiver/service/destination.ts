// From the hello's mountpoint and directory to an open archive: settings, mount, directories, lock, in this order, so that
// nothing is made or locked where nothing is allowed.

import { closeSync, linkSync } from "node:fs";
import {
  type AgentHello,
  capabilities,
  type ReceiverHello,
  type Service,
} from "../../protocol/wire/messages.ts";
import type { ArchiveUuid, Digest, Generation } from "../../protocol/archive/types.ts";
import { lockArchive } from "../archive-lock.ts";
import type { ReceiverSettings } from "../config/settings.ts";
import { type Directory, openBelow } from "../directory.ts";
import { ifPossible, RefusalError, systemCode, unless } from "../errors.ts";
import { createFile, removeFile, statOf, writeAll } from "../files.ts";
import { mountIdOf } from "../mount-table.ts";
import { type Mountpoint, openMountpoint } from "../mountpoint.ts";
import { fileRoom } from "../room.ts";
import { shown } from "../sanitize.ts";
import { type Archive, openArchive } from "../store/archive.ts";
import { writeReadme } from "../store/readme.ts";
import { canPunch } from "../store/tar/punch.ts";
import { recordTrashDays } from "../store/trash-time.ts";
import { sweepTemporaries, temporaries } from "../store/temporaries.ts";
import { checkApart } from "./other-archives.ts";

export interface Destination extends Disposable {
  readonly mountpoint: Mountpoint;
  /** undefined where its directory is not there, and this service makes none. */
  readonly archive: Archive | undefined;
  readonly hello: ReceiverHello;
}

interface Power {
  readonly writes: boolean;
  readonly makes: boolean;
  readonly locks: boolean;
  /** Takes away: has to know whether holes can be punched, which costs a process to find out. */
  readonly prunes: boolean;
}

/** What a service does to the archive's directory. */
const powers: Readonly<Record<Service, Power>> = {
  "sparsebak.Send": { writes: true, makes: true, locks: true, prunes: false },
  "sparsebak.Prune": { writes: true, makes: false, locks: true, prunes: true },
  "sparsebak.Receive": { writes: false, makes: false, locks: false, prunes: false },
  "sparsebak.Assemble": { writes: true, makes: false, locks: false, prunes: false },
};

/** Opens what the hello names. Throws RefusalError; then nothing stays open or locked. */
export async function openDestination(hello: AgentHello, settings: ReceiverSettings): Promise<Destination> {
  const { writes, makes, locks, prunes } = powers[hello.service];
  const plain = settings.plainDirectories.includes(hello.mountpoint);
  if (!plain && settings.mountpoints !== undefined && !settings.mountpoints.includes(hello.mountpoint)) {
    throw new RefusalError(
      "not-allowed",
      `the receiver's settings don't allow the mountpoint ${shown(hello.mountpoint)}`,
    );
  }
  const opened: Disposable[] = [];
  const keep = <T extends Disposable>(each: T): T => {
    opened.push(each);
    return each;
  };
  const close = (): void => {
    for (const each of opened.splice(0).reverse()) each[Symbol.dispose]();
  };
  try {
    const mountpoint = keep(openMountpoint(hello.mountpoint, plain));
    if (writes) mountpoint.checkWritable();
    if (writes) checkApart(mountpoint.directory, hello.directory, locks);
    const there = openBelow(mountpoint.directory, hello.directory, false);
    const root = there ?? (makes ? makeRoot(mountpoint, hello.directory) : undefined);
    if (root === undefined) {
      const nothing = helloOf(mountpoint, undefined, 0);
      return { mountpoint, archive: undefined, hello: nothing, [Symbol.dispose]: close };
    }
    keep(root);
    if (mountIdOf(root.fd) !== mountIdOf(mountpoint.directory.fd)) {
      throw new RefusalError(
        "not-mounted",
        `another file system is mounted between ${shown(hello.mountpoint)} and the archive`,
      );
    }
    if (locks) keep(await lockArchive(root));
    const archive = openArchive(root);
    // sparsebak.Prune may put it back.
    if (writes && !prunes && archive.current !== undefined) checkHeader(archive);
    if (locks) await sweepTemporaries(root);
    // A full file system must not keep anybody from removing what fills it.
    const can = locks ? await probe(root, prunes) : 0;
    if (locks && archive.current !== undefined) {
      const { trashDays } = settings;
      if (trashDays !== undefined) unless(full, () => recordTrashDays(root, trashDays));
      if (makes) unless(full, () => writeReadme(root));
    }
    return { mountpoint, archive, hello: helloOf(mountpoint, archive, can), [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/** RefusalError `no-space`, `no-inodes`. */
function makeRoot(mountpoint: Mountpoint, path: string): Directory | undefined {
  fileRoom(() => mountpoint.space()).take(0);
  return openBelow(mountpoint.directory, path, true);
}

function checkHeader(archive: Archive): void {
  const lost = (what: string, options?: ErrorOptions): RefusalError => {
    const how =
      "sparsebak check --repair puts it back if dom0 has kept it; or copy it from a volume's directory";
    return new RefusalError("corrupt", `${what}: ${how}`, options);
  };
  try {
    if (archive.header() !== undefined) return;
  } catch (error) {
    if (!(error instanceof RefusalError)) throw error;
    throw lost(error.message, { cause: error });
  }
  throw lost("the archive header is missing");
}

function helloOf(mountpoint: Mountpoint, archive: Archive | undefined, can: number): ReceiverHello {
  const current = archive?.current;
  return {
    capabilities: can,
    archive: current?.head.archive ?? (new Uint8Array(16) as ArchiveUuid),
    generation: current?.head.generation ?? (0 as Generation),
    headDigest: current?.digest ?? (new Uint8Array(32) as Digest),
    ...mountpoint.space(),
  };
}

const full = ["ENOSPC", "EDQUOT"];
const probeBytes = 8192;
const { probe: probeName, probeLink } = temporaries;

/** Tries out what the file system can do: hard links, names that differ in case only, and, if asked for, holes. What the
 *  system keeps it from trying it can't do. */
async function probe(root: Directory, punches: boolean): Promise<number> {
  const remove = (): void => {
    removeFile(root, probeName);
    removeFile(root, probeLink);
  };
  remove();
  try {
    const holes = await probeHoles(root, punches);
    if (statOf(root, probeName) === undefined) return 0;
    const caseSensitive = statOf(root, probeName.toUpperCase()) === undefined;
    ifPossible(() => linkSync(root.at(probeName), root.at(probeLink)));
    const hardLinks = statOf(root, probeLink) !== undefined;
    return (
      (hardLinks ? capabilities.hardLinks : 0) |
      (holes ? capabilities.punchHoles : 0) |
      (caseSensitive ? capabilities.caseSensitive : 0)
    );
  } finally {
    remove();
  }
}

/** Makes the file that is tried with, as far as there is room. A file system that is shared over a network may say only
 *  when a file is closed that it is full, or that nothing may be written. */
async function probeHoles(root: Directory, punches: boolean): Promise<boolean> {
  try {
    const fd = createFile(root, probeName);
    try {
      writeAll(fd, new Uint8Array(probeBytes));
      return punches && (await canPunch(fd));
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return false;
  }
}
