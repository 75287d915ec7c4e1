// key: passphrases, recovery form, read keys. A change of slots is a new `archive.N` and a step like any other; it
// touches no data, and revokes nothing that anybody has a copy of (docs/keys.md).

import {
  type ArchiveHeader,
  archiveHeaderMacInput,
  decodeArchiveHeader,
  encodeArchiveHeader,
  type KeySlot,
  maxKeySlots,
} from "../../protocol/archive/archive-header.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { macOf } from "../../protocol/seal/keys.ts";
import { readKeyOf, readKeyText } from "../../protocol/seal/read-key.ts";
import { makeSlot, openSlot, type SlotOptions } from "../../protocol/seal/slot.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { readMasterKey } from "../keys/master-key.ts";
import { checkNewPassphrase } from "../keys/passphrase.ts";
import { type ArchiveRecord, readArchiveRecord } from "../state/archive-record.ts";
import { deletedVolume } from "../state/deleted-volumes.ts";
import type { ArchivePaths } from "../state/layout.ts";
import { takeArchiveLock } from "../state/lock.ts";
import { type OpenArchive, verified, where } from "../archive/archive.ts";
import { alsoOpened, indexOf, NoSuchVolumeError } from "../archive/archive-view.ts";
import type { Client } from "../archive/client.ts";
import { commitStep, type Step } from "../archive/commit-step.ts";
import type { Context } from "../context.ts";
import { openDestination } from "../archive/destination.ts";
import { recoveryLines } from "../archive/new-archive.ts";
import { TransportError } from "../transport/transport.ts";

/** A slot as people see it; they are counted from 1. */
export interface ListedSlot {
  readonly slot: number;
  /** Bytes of memory that a guess costs. */
  readonly memory: number;
}

/** The slots of the archive's passphrases. */
export async function listSlots(context: Context, settings: ArchiveSettings): Promise<readonly ListedSlot[]> {
  const open = await openDestination(context, settings, "sparsebak.Receive", async () => false);
  if (open === undefined) throw noArchiveAt(settings, "key");
  await using client = open.client;
  const { slots } = headerOf(open);
  await client.close();
  return slots.map(({ logN, r }, i) => ({ slot: i + 1, memory: 128 * r * 2 ** logN }));
}

/** What is to happen to the slots. */
export type SlotChange =
  | { readonly kind: "add"; readonly passphrase: () => Promise<string> }
  | {
      readonly kind: "change";
      readonly slot: number | undefined;
      readonly passphrase: () => Promise<string>;
    }
  | { readonly kind: "remove"; readonly slot: number };

/** Changes the slots; gives how many there are then. `slot` makes slots that cost less, for tests in a hurry. Throws only
 *  where the change is not made, or, with a hint that says so, where the answer to its commit was lost. */
export async function changeSlots(
  context: Context,
  settings: ArchiveSettings,
  change: SlotChange,
  slot: SlotOptions = {},
): Promise<number> {
  const paths = context.state.archive(settings.name);
  using _lock = await takeArchiveLock(paths.lock, `key of ${settings.name}`);
  const open = await openDestination(context, settings, "sparsebak.Prune", async () => false);
  if (open === undefined) throw noArchiveAt(settings, "key");
  await using client = open.client;
  const header = headerOf(open);
  const slots = await changed(header, change, async () => {
    if (change.kind === "remove") throw new TypeError("remove makes no slot");
    const passphrase = await change.passphrase();
    checkNewPassphrase(passphrase);
    refuseKnown(header, passphrase);
    return makeSlot(readMasterKey(paths), passphrase, header.uuid, slot);
  });
  const fields: Omit<ArchiveHeader, "mac"> = { ...header, slots };
  const mac = macOf(open.keys.header, archiveHeaderMacInput(fields));
  const oldHeader = open.head.archiveGeneration;
  await commitSlots(open, {
    note: { what: "key" },
    indexes: [],
    header: encodeArchiveHeader({ ...fields, mac }),
    dead: { volumes: [], headsBelow: 0 as Generation, archives: [oldHeader] },
  });
  await sweepOrWarn(context, client);
  return slots.length;
}

/** One that two slots have would still open the archive when one of them has been removed. */
function refuseKnown({ slots, uuid }: ArchiveHeader, passphrase: string): void {
  const at = slots.findIndex((each) => openSlot(each, passphrase, uuid) !== undefined);
  if (at !== -1)
    throw new AgentError("failed", `key: the archive has this passphrase already, as number ${at + 1}`);
}

/** Slots go by their number, so that a change which is done and repeated would hit the next one. */
async function commitSlots(open: OpenArchive, step: Step): Promise<void> {
  try {
    await commitStep(open, step);
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    throw new TransportError(
      error.message,
      error.unreachable,
      "it may be done: look with sparsebak key --list before you repeat it",
    );
  }
}

/** What follows the commit can't undo it, and so is no failure of the command. */
async function sweepOrWarn(context: Context, client: Client): Promise<void> {
  try {
    await client.ask("sweep", {});
    await client.close();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    context.report.warn(`key: done; the old header goes with the next prune: ${why}`);
  }
}

async function changed(
  { slots }: ArchiveHeader,
  change: SlotChange,
  make: () => Promise<KeySlot>,
): Promise<readonly KeySlot[]> {
  if (change.kind === "add") {
    if (slots.length === maxKeySlots)
      throw new AgentError(
        "failed",
        `key --add: the archive has ${maxKeySlots} passphrases, which is all it can`,
      );
    return [...slots, await make()];
  }
  const at = slotAt(slots, change);
  if (change.kind === "change") {
    const made = await make();
    return slots.map((each, i) => (i === at ? made : each));
  }
  if (slots.length === 1)
    throw new AgentError(
      "failed",
      "key --remove: it is the only passphrase; without it the recovery form alone would open the archive elsewhere",
      "add another one first (key --add), or change it (key --change-passphrase)",
    );
  return slots.filter((_, i) => i !== at);
}

function slotAt(
  slots: readonly KeySlot[],
  { kind, slot }: { kind: string; slot: number | undefined },
): number {
  if (slots.length === 0) throw new AgentError("failed", `key --${kind}: the archive has no passphrase`);
  if (slot === undefined && slots.length > 1)
    throw new AgentError("usage", `key: the archive has ${slots.length} passphrases: which one? give --slot`);
  const wanted = slot ?? 1;
  if (!Number.isSafeInteger(wanted) || wanted < 1 || wanted > slots.length)
    throw new AgentError("usage", `key: found slot ${wanted}, wanted 1 to ${slots.length}`, "see key --list");
  return wanted - 1;
}

/** The recovery form of the archive's key, from dom0's own key file: the VM is not asked. */
export function showRecovery(context: Context, settings: ArchiveSettings): readonly string[] {
  const { paths, record } = knownArchive(context, settings);
  return recoveryLines(record.sealed, readMasterKey(paths));
}

/** The read key of a volume, as text; of one that was deleted from here, where the archive has none of that name. Throws
 *  AgentError. */
export async function exportReadKey(
  context: Context,
  settings: ArchiveSettings,
  name: string,
): Promise<string> {
  try {
    return await readKeyNow(context, settings, name);
  } catch (error) {
    const { paths, record } = knownArchive(context, settings);
    const deleted = error instanceof NoSuchVolumeError ? deletedVolume(paths, name) : undefined;
    if (deleted === undefined) throw error;
    context.report.notice(
      `${name}: deleted from the archive; this key reads what the destination's trash still has of it (spbk-assemble --untrash)`,
    );
    const { id: volume, group } = deleted;
    return readKeyText(readKeyOf(readMasterKey(paths), { archive: record.uuid, volume, group }));
  }
}

/** By the name that the archive has it under: another host may have given the name that dom0 remembers to another volume,
 *  and a key can't be taken back. */
async function readKeyNow(context: Context, settings: ArchiveSettings, name: string): Promise<string> {
  const { paths, record } = knownArchive(context, settings);
  if (!record.sealed)
    throw new AgentError(
      "failed",
      "key --export: the archive is not sealed: anybody can read it without a key",
    );
  const open = await openDestination(context, settings, "sparsebak.Receive", async () => false);
  if (open === undefined) throw noArchiveAt(settings, "key");
  await using client = open.client;
  const index = await indexOf(open, name);
  const others = await alsoOpened(open, index);
  await client.close();
  if (others !== undefined) context.report.notice(`${name}: ${others}`);
  const { archive, volume, group } = index;
  return readKeyText(readKeyOf(readMasterKey(paths), { archive, volume, group }));
}

function knownArchive(
  context: Context,
  settings: ArchiveSettings,
): { readonly paths: ArchivePaths; readonly record: ArchiveRecord } {
  const paths = context.state.archive(settings.name);
  const record = readArchiveRecord(paths);
  if (record === undefined) throw noArchiveAt(settings, "key");
  return { paths, record };
}

function headerOf(open: OpenArchive): ArchiveHeader {
  return verified("archive header", () => decodeArchiveHeader(open.header));
}

function noArchiveAt(settings: ArchiveSettings, what: string): AgentError {
  return new AgentError(
    "failed",
    `${what}: there is no archive at ${where(settings)}`,
    "sparsebak init makes one",
  );
}
