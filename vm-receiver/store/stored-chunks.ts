// Chunks of a finished container as they are stored, whatever its form: the one way to them that services and checks go.

import type { ChunkAddress } from "../../protocol/archive/types.ts";

export interface StoredChunks extends Disposable {
  /**
   * Reads what is stored under `address` to the beginning of `into` and gives its length; undefined where there is no
   * such chunk. Where it is longer than `into`, only the length is given. Throws FormatError for what can't be a chunk
   * (a link, a directory, a member of a tar that is not where the tar says), and what the system throws.
   */
  read(address: ChunkAddress, into: Uint8Array): number | undefined;
}
