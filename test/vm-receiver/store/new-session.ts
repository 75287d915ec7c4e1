// A session that a store is asked to make, in an archive that is nobody's.

import { randomBytes } from "node:crypto";
import type {
  ArchiveUuid,
  Generation,
  SessionName,
  SessionUid,
  VolumeId,
} from "../../../protocol/archive/types.ts";
import type { NewSession } from "../../../vm-receiver/store/store.ts";

export const chunkSize: number = 65_536;

export const newSession: NewSession = {
  archive: new Uint8Array(randomBytes(16)) as ArchiveUuid,
  volume: new Uint8Array(randomBytes(16)) as VolumeId,
  session: new Uint8Array(randomBytes(16)) as SessionUid,
  generation: 7 as Generation,
  name: "S_20261123-101500" as SessionName,
  chunkSize,
  size: 2 ** 30,
};
