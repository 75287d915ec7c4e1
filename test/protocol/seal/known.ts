// The known answers in protocol/vectors/sealed, which seal-vectors.py has computed: hexadecimal, text and numbers.

import { readFileSync } from "node:fs";
import type { ArchiveUuid, GroupId, SessionUid, VolumeId } from "../../../protocol/archive/types.ts";
import { fromHex } from "../../../protocol/bytes.ts";

export interface Known {
  bytes(field: string): Uint8Array;
  text(field: string): string;
  number(field: string): number;
}

/** The fields of `NAME.json`. */
export function known(name: string): Known {
  const file = new URL(`../../../protocol/vectors/sealed/${name}.json`, import.meta.url);
  const fields = JSON.parse(readFileSync(file, "utf8")) as Record<string, string | number>;
  return {
    bytes: (field) => fromHex(String(fields[field])) as Uint8Array,
    text: (field) => String(fields[field]),
    number: (field) => Number(fields[field]),
  };
}

const keys = known("keys");
export const master: Uint8Array = keys.bytes("master");
export const archive: ArchiveUuid = keys.bytes("archive") as ArchiveUuid;
export const volume: VolumeId = keys.bytes("volume") as VolumeId;
export const session: SessionUid = keys.bytes("session") as SessionUid;
export const group: GroupId = keys.bytes("group") as GroupId;
export const salt: Uint8Array = keys.bytes("salt");
