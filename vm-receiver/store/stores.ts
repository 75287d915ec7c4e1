// The stores, by the form of a session, and what lies in a volume's directory under names of either form.

import { isSessionName } from "../../protocol/archive/names.ts";
import type { SessionName } from "../../protocol/archive/types.ts";
import { directoryStore } from "./directory/directory-store.ts";
import type { Form, Store } from "./store.ts";
import { tarStore } from "./tar/tar-store.ts";

export const stores: Readonly<Record<Form, Store>> = { dir: directoryStore, tar: tarStore };

/** What a name below a volume's directory says: a session, its form, and whether it is finished. */
export interface SessionEntry {
  readonly name: SessionName;
  readonly form: Form;
  readonly finished: boolean;
}

/** The session that a name below a volume's directory stands for; undefined for every other name. */
export function sessionEntry(name: string): SessionEntry | undefined {
  const label = name.slice(0, sessionNameLength);
  if (!isSessionName(label)) return undefined;
  for (const form of ["dir", "tar"] as const) {
    if (name === stores[form].finishedName(label)) return { name: label, form, finished: true };
    if (name === stores[form].partName(label)) return { name: label, form, finished: false };
  }
  return undefined;
}

const sessionNameLength = "S_20261123-101500".length;

/** Every name that a session may have below its volume's directory, in any form and state. */
export function namesOfSession(name: SessionName): readonly string[] {
  return Object.values(stores).flatMap((store) => [store.finishedName(name), store.partName(name)]);
}
