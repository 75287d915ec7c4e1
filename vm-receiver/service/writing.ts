// What a connection that writes is, and what it remembers from one request to the next.

import type { Digest } from "../../protocol/archive/types.ts";

/** What a service that writes may do with the state that there is: add to it, or take from it. */
export type Power = "add" | "prune";

export interface WriterMemory {
  /** Directories of volumes that had a session here in this connection, by hex volume id. */
  readonly begun: Map<string, string>;
  /** Digest of the head that was put last. */
  headPut: Digest | undefined;
}
