// What a sealed archive is opened with, as everything here sees it. Where it comes from only unlock.ts knows, which alone
// imports protocol/seal; the services import this folder and have no keys.

import type { ArchiveHeader } from "../../protocol/archive/archive-header.ts";
import type { Head } from "../../protocol/archive/head.ts";
import type { BodyOpener } from "../../protocol/archive/sealed-body.ts";
import type { ArchiveUuid, GroupId } from "../../protocol/archive/types.ts";

/** Keys of the chunks of a group. Plain data: the workers get it. */
export interface ChunkKeys {
  readonly idKey: Uint8Array;
  /** undefined: the archive is not sealed. */
  readonly sealed: { readonly archive: ArchiveUuid; readonly groupKey: Uint8Array } | undefined;
}

/** Keys of a sealed archive, or of one volume of it. */
export interface OpenKeys {
  readonly opener: BodyOpener;
  /** Throws AssembleError where header and head are not of the archive that the key is of; with a passphrase, also where
   *  they were not made with its master key; with a read key, also where `volumeDirectory` is another volume's. */
  check(header: ArchiveHeader, head: Head | undefined, volumeDirectory?: string): void;
  /** Throws AssembleError `wrong-key` for a group that the key is not of. */
  chunkKeys(group: GroupId): ChunkKeys;
}
