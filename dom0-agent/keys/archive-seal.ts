// What an archive's files and chunks are sealed, opened and named with: one place that knows whether it is sealed, so
// that nobody else has to ask.

import { publicIdKey } from "../../protocol/archive/chunk-id.ts";
import type { BodyOpener, BodySealer } from "../../protocol/archive/sealed-body.ts";
import type { ArchiveUuid, GroupId } from "../../protocol/archive/types.ts";
import { fileOpener, fileSealer } from "../../protocol/seal/file-seal.ts";
import { groupKey, sealedIdKey } from "../../protocol/seal/keys.ts";

/** What chunks of one group are named with, and sealed with where the archive is sealed. Plain data: workers get it. */
export interface ChunkKeys {
  readonly idKey: Uint8Array;
  /** undefined: not sealed. */
  readonly sealed: { readonly archive: ArchiveUuid; readonly groupKey: Uint8Array } | undefined;
}

export interface ArchiveSeal {
  /** For encodeIndex and the like; undefined where the archive is not sealed, and they take it as that. */
  readonly sealer: BodySealer | undefined;
  readonly opener: BodyOpener | undefined;
  chunkKeys(group: GroupId): ChunkKeys;
}

/** `record` decides whether the archive is sealed, and nothing that comes from the VM. */
export function archiveSeal(
  master: Uint8Array,
  record: { readonly uuid: ArchiveUuid; readonly sealed: boolean; readonly idSeed: Uint8Array },
): ArchiveSeal {
  const { uuid, idSeed } = record;
  if (!record.sealed) {
    const chunkKeys = (group: GroupId): ChunkKeys => ({
      idKey: publicIdKey(idSeed, uuid, group),
      sealed: undefined,
    });
    return { sealer: undefined, opener: undefined, chunkKeys };
  }
  return {
    sealer: fileSealer(master),
    opener: fileOpener(master),
    chunkKeys: (group) => {
      const key = groupKey(master, uuid, group);
      return { idKey: sealedIdKey(key, uuid), sealed: { archive: uuid, groupKey: key } };
    },
  };
}
