// Opening an archive: the one that dom0 knows and no other, in a state that dom0 made or can verify, sealed if and only
// if dom0 remembers it so (design section 8, "Keys" and "Rollback"). Damage of dom0's own state is told from an archive
// that is not what it was.

import type { Generation } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { archiveKeys } from "../../protocol/seal/keys.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { archiveSeal } from "../keys/archive-seal.ts";
import { hasMasterKey, readMasterKey } from "../keys/master-key.ts";
import { type ArchiveRecord, hasRestOfState, readArchiveRecord } from "../state/archive-record.ts";
import { keepHeader, keptHeader } from "../state/kept-headers.ts";
import type { ArchivePaths } from "../state/layout.ts";
import { takeArchiveLock } from "../state/lock.ts";
import { DamagedStateError } from "../state/record.ts";
import { acceptHead } from "./accept-head.ts";
import {
  anotherPlace,
  checkHeaderAgrees,
  checkHeaderMac,
  checkHeadMac,
  integrity,
  noArchive,
  type OpenArchive,
  readHead,
  readHeader,
  where,
} from "./archive.ts";
import type { Client } from "./client.ts";
import { createArchive, type NewArchive } from "./create-archive.ts";
import { adoptArchive } from "./join-archive.ts";

/** What opening may lead to, and who decides. */
export interface OpenChoices {
  /** Where neither side knows an archive: what to make, or false. */
  readonly create: () => Promise<NewArchive | false>;
  /** A head that is older than the one dom0 remembers, or forked off before it: true to go on from it. */
  readonly acceptRollback: (what: string) => Promise<boolean>;
  readonly warn: (message: string) => void;
  /** The caller has the archive's lock; without it nothing may be changed that another command may be at. */
  readonly holdsLock: boolean;
}

/**
 * Opens the archive behind `client`, or makes it where neither side knows one and `create` says so; undefined where it
 * does not. Throws AgentError `integrity` where what the VM shows is not what dom0 knows.
 */
export async function openArchive(
  client: Client,
  settings: ArchiveSettings,
  paths: ArchivePaths,
  choices: OpenChoices,
): Promise<OpenArchive | undefined> {
  const { hello } = client;
  const record = await knownRecord(client, settings, paths, choices);
  if (record === undefined || record.head.generation === 0) {
    if (hello.generation === 0) {
      const wanted = await choices.create();
      return wanted === false ? undefined : createArchive(client, settings, paths, record, wanted);
    }
    if (!equalBytes(record?.uuid ?? noArchive, hello.archive))
      throw unknownArchive(settings, hello.generation);
  }
  if (record === undefined) return undefined;
  if (hello.generation === 0 || !equalBytes(record.uuid, hello.archive)) {
    throw integrity(
      `archive ${settings.name}: found ${hello.generation === 0 ? "no archive" : "another archive"} at ${where(settings)}, wanted the one that this dom0 has sent ${record.head.generation} generations to`,
      `nothing was written; attach the right drive. ${anotherPlace}`,
    );
  }
  checkSettings(settings, record.sealed);
  const master = readMasterKey(paths);
  const keys = archiveKeys(master, record.uuid);
  const { head, digest } = await readHead(client, record.uuid);
  checkHeadMac(head, keys, record.head.generation);
  const kept = keptHeader(paths, head.archiveGeneration, head.archiveDigest);
  const { bytes, untrusted, lost } = await readHeader(client, head, kept);
  checkHeaderMac(untrusted, keys);
  checkHeaderAgrees(untrusted, record);
  const open: OpenArchive = {
    settings,
    paths,
    keys,
    seal: archiveSeal(master, record),
    client,
    head,
    headDigest: digest,
    record,
    header: bytes,
    ...(lost === undefined ? {} : { headerLost: lost }),
  };
  client.sealedOnly = record.sealed;
  await acceptHead(open, choices);
  if (choices.holdsLock) keepHeader(paths, head.archiveGeneration, bytes, choices.warn);
  return open;
}

/** dom0's record; where it is lost or damaged and the key is not, it is made again from the archive, which the key
 *  verifies. */
async function knownRecord(
  client: Client,
  settings: ArchiveSettings,
  paths: ArchivePaths,
  { warn, holdsLock }: OpenChoices,
): Promise<ArchiveRecord | undefined> {
  let damage: DamagedStateError | undefined;
  try {
    const record = readArchiveRecord(paths);
    if (record !== undefined) return record;
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error;
    damage = error;
  }
  if (client.hello.generation === 0) {
    if (damage === undefined && !hasRestOfState(paths)) return undefined;
    const why = damage?.message ?? `${paths.archive}: it is not there, though other state of the archive is`;
    throw integrity(
      `${why}; and there is no archive at ${where(settings)} to make it again from`,
      `attach the right drive; to begin anew, move ${paths.directory} away`,
    );
  }
  if (!hasMasterKey(paths)) {
    if (damage !== undefined) throw damage;
    return undefined;
  }
  const why = damage?.message ?? `${paths.archive}: it is not there, though the key is`;
  warn(
    `${why}; it is made again from the archive. Which state was the newest is not remembered any more: compare with a receipt (sparsebak check --receipt)`,
  );
  using _lock = holdsLock ? undefined : await takeArchiveLock(paths.lock, `archive ${settings.name}`);
  return await adoptArchive(client, settings, paths, readMasterKey(paths), undefined);
}

function unknownArchive(settings: ArchiveSettings, generation: Generation): AgentError {
  return integrity(
    `archive ${settings.name}: found an archive of ${generation} generations at ${where(settings)}, which this dom0 does not know`,
    "sparsebak init --join takes it over, with its passphrase or recovery form; for another archive beside it, change destdir",
  );
}

/** The settings can't ask for less or more than the archive is. */
export function checkSettings(settings: Pick<ArchiveSettings, "name" | "encryption">, sealed: boolean): void {
  if (settings.encryption === undefined || (settings.encryption === "on") === sealed) return;
  throw new AgentError(
    "usage",
    `archive ${settings.name}: the settings say encryption = ${settings.encryption}, and the archive is ${sealed ? "sealed" : "not sealed"}`,
    `an archive stays what it was made as: correct the settings. ${anotherPlace}`,
  );
}
