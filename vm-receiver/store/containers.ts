// Which session files a volume's index says must be there: all that the receiver wants to know of an index, and all that
// it can know of one whose other part is sealed.

import { type Container, decodeIndex } from "../../protocol/archive/index-file.ts";
import { decodePrefix } from "../../protocol/archive/prefix.ts";
import type { ArchiveUuid, Generation, VolumeId } from "../../protocol/archive/types.ts";
import { RefusalError } from "../errors.ts";

export interface IndexIdentity {
  readonly archive?: ArchiveUuid;
  readonly volume: VolumeId;
  readonly generation: Generation;
}

/** The containers in the bytes of `index.N`. Throws FormatError; RefusalError `unsupported` for a sealed index. */
export function containersOf(untrusted: Uint8Array, expected: IndexIdentity): readonly Container[] {
  if (decodePrefix(untrusted).protection === "sealed") {
    throw new RefusalError("unsupported", "sealed archives need a newer receiver");
  }
  return decodeIndex(untrusted, expected).containers;
}
