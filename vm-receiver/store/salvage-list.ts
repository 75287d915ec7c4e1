// The list of what an interrupted session has left, made from what is read back. Chunks that came before the last flush
// of the old list are compared with it; the few behind it must vouch for themselves.

import { hash } from "node:crypto";
import { renameSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type ListEntry, listBuilder } from "../../protocol/archive/list-file.ts";
import { fileNames } from "../../protocol/archive/names.ts";
import type { ChunkAddress, Digest } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { Directory } from "../directory.ts";
import { openFile, removeFile } from "../files.ts";
import { recordsOfPart } from "./list-records.ts";
import { createSpool } from "./spool.ts";
import { newListPart } from "./spool-names.ts";
import type { Salvageable } from "./store.ts";

/** So many bytes are read and hashed before somebody else has a turn. */
const turnBytes = 8 * 1024 * 1024;

export interface SalvageList extends Disposable {
  readonly chunks: number;
  /** Notes the next chunk that was read, if it is what was stored; false where it is not. Addresses rise. */
  add(address: ChunkAddress, stored: Uint8Array): Promise<boolean>;
  /** Puts the new list in the place of the old one. */
  replace(): Promise<void>;
}

/** Begins the new list of the session in `part`. */
export function salvageList(part: Directory, { identity, isWhole, onBytes }: Salvageable): SalvageList {
  removeFile(part, newListPart);
  const old = openFile(part, fileNames.list);
  const records = old === undefined ? undefined : recordsOfPart(old);
  const builder = listBuilder(identity);
  const spool = createSpool(part, newListPart);
  spool.append(builder.head);
  let record: ListEntry | undefined = records?.next().value ?? undefined;
  let chunks = 0;
  let sinceTurn = 0;

  /** The old list's record of an address, and whether the old list reaches that far. */
  const recorded = (address: ChunkAddress): ListEntry | "behind" | undefined => {
    while (record !== undefined && record.address < address) record = records?.next().value ?? undefined;
    if (record === undefined) return "behind";
    return record.address === address ? record : undefined;
  };

  return {
    get chunks() {
      return chunks;
    },
    add: async (address, stored) => {
      onBytes(stored.length);
      sinceTurn += stored.length;
      if (sinceTurn > turnBytes) {
        sinceTurn = 0;
        await nextTurn();
      }
      const known = recorded(address);
      const checksum = hash("sha256", stored, "buffer") as Uint8Array as Digest;
      const right =
        known === "behind" ? isWhole(stored) : known !== undefined && equalBytes(known.checksum, checksum);
      if (!right) return false;
      spool.append(builder.add({ address, storedLength: stored.length, checksum }));
      chunks++;
      return true;
    },
    replace: async () => {
      spool.append(builder.finish().tail);
      await spool.sync();
      // In one step, so that there is always one that says whose it is. No head has ever named the old one.
      renameSync(part.at(newListPart), part.at(fileNames.list));
    },
    [Symbol.dispose]: () => {
      spool[Symbol.dispose]();
      old?.[Symbol.dispose]();
    },
  };
}
