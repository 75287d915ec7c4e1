// Receipts: what a person keeps on paper to notice a rolled-back archive by, also where dom0's memory is gone (design
// section 8, "Rollback").

import { archiveKeys, logEntry } from "../../protocol/seal/keys.ts";
import { logHolds, parseReceipt, type Receipt, receiptOf, receiptText } from "../../protocol/seal/receipt.ts";
import { FormatError } from "../../protocol/errors.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { readMasterKey } from "../keys/master-key.ts";
import { readArchiveRecord } from "../state/archive-record.ts";
import { integrity, where } from "./archive.ts";
import type { Context } from "../context.ts";
import { openDestination } from "./destination.ts";

/** The receipt of the state that dom0 accepted last; the VM is not asked. */
export function currentReceipt(
  context: Context,
  settings: ArchiveSettings,
): { readonly receipt: string; readonly generation: number } {
  const paths = context.state.archive(settings.name);
  const record = readArchiveRecord(paths);
  if (record === undefined || record.head.generation === 0)
    throw new AgentError("failed", `status --receipt: this dom0 has no archive «${settings.name}»`);
  const { generation, chain } = record.head;
  const keys = archiveKeys(readMasterKey(paths), record.uuid);
  return { receipt: receiptText(receiptOf(generation, logEntry(keys, generation, chain))), generation };
}

/** Throws AgentError `integrity` where the archive's verified log does not hold what the receipt says. */
export async function checkReceipt(
  context: Context,
  settings: ArchiveSettings,
  code: string,
): Promise<{ readonly receipt: number; readonly generation: number }> {
  const receipt = parsed(code);
  const open = await openDestination(context, settings, "sparsebak.Receive", async () => false);
  if (open === undefined)
    throw new AgentError("failed", `check --receipt: there is no archive at ${where(settings)}`);
  await using client = open.client;
  const { generation } = open.head;
  if (receipt.generation > generation)
    throw integrity(
      `archive ${settings.name}: found state ${generation}, the receipt is of state ${receipt.generation}`,
      "an older copy of the drive; what was sent since then is not in it",
    );
  if (!logHolds(open.head, receipt))
    throw integrity(
      `archive ${settings.name}: the receipt's state ${receipt.generation} is not in the history of state ${generation}`,
      "the receipt of another archive, or one that was rolled back and then went on another way",
    );
  await client.close();
  return { receipt: receipt.generation, generation };
}

function parsed(code: string): Receipt {
  try {
    return parseReceipt(code);
  } catch (error) {
    if (error instanceof FormatError) throw new AgentError("usage", error.message, "type it again");
    throw error;
  }
}
