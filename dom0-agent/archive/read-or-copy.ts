// Heads and indexes: the few small files that everything else hangs on, of which the archive has second copies
// (archive-format.md, F38). What a copy says is checked like the file itself.

import type { MetaKind, MetaName } from "../../protocol/wire/messages.ts";
import { AgentError } from "../errors.ts";
import type { Client } from "./client.ts";
import { RefusedError } from "./refused-error.ts";

/** A file that has a second copy. */
export type CopiedName = MetaName & { readonly kind: "head" | "index" };

const copies: Readonly<Record<CopiedName["kind"], MetaKind>> = { head: "headCopy", index: "indexCopy" };

/**
 * What `decode` makes of the file; where that is missing or damaged, of its copy, which is said. `what` names it in
 * messages. Throws what the file itself has come to where the copy is no better: AgentError `integrity`.
 */
export async function readOrCopy<T>(
  client: Client,
  name: CopiedName,
  what: string,
  max: number,
  decode: (untrusted: Uint8Array) => T,
): Promise<T> {
  try {
    return await readOne(client, name, what, max, decode);
  } catch (error) {
    if (!isDamage(error)) throw error;
    let found: T;
    try {
      found = await readOne(client, copyName(name), what, max, decode);
    } catch (second) {
      throw isDamage(second) ? error : second;
    }
    client.onCopyUsed?.(error.message);
    return found;
  }
}

async function readOne<T>(
  client: Client,
  name: MetaName,
  what: string,
  max: number,
  decode: (untrusted: Uint8Array) => T,
): Promise<T> {
  const raw = await client.readWhole(name, max);
  if (raw === undefined) throw new AgentError("integrity", `${what}: the receiver does not have it`);
  return decode(raw);
}

/** How the second copy of a file is asked for. */
export function copyName(name: CopiedName): MetaName {
  return { ...name, kind: copies[name.kind] };
}

/** True for what a file that is damaged, or can't be read where it lies, comes to. */
export function isDamage(error: unknown): error is AgentError {
  if (error instanceof RefusedError) return error.code === "corrupt" || error.code === "io";
  return error instanceof AgentError && error.reason === "integrity";
}
