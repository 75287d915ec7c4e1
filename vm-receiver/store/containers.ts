// Which session files a volume's index says must be there: all that the receiver wants to know of an index, and all that
// it can know of one whose other part is sealed.

import { type Container, decodeIndexContainers } from "../../protocol/archive/index-file.ts";
import type { ArchiveUuid, Generation, VolumeId } from "../../protocol/archive/types.ts";

export interface IndexIdentity {
  readonly archive?: ArchiveUuid;
  readonly volume: VolumeId;
  readonly generation: Generation;
}

/** The containers in the bytes of `index.N`, sealed or not. Throws FormatError. */
export function containersOf(untrusted: Uint8Array, expected: IndexIdentity): readonly Container[] {
  return decodeIndexContainers(untrusted, expected).containers;
}
