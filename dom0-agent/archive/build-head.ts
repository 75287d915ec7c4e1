// The next head: body, chain, log and MAC (docs/archive-format.md, "Heads"). Decoded again before anybody gets it.

import {
  chainOf,
  decodeHead,
  encodeHead,
  type Head,
  type HeadBody,
  headMacInput,
  noChain,
} from "../../protocol/archive/head.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { ArchiveUuid, Digest, Generation } from "../../protocol/archive/types.ts";
import { concatBytes } from "../../protocol/bytes.ts";
import { type ArchiveKeys, logEntry, macOf } from "../../protocol/seal/keys.ts";

export interface BuiltHead {
  readonly head: Head;
  readonly bytes: Uint8Array;
  readonly digest: Digest;
}

/** The head that follows `previous` (undefined: the first) with this body. */
export function buildHead(
  keys: ArchiveKeys,
  archive: ArchiveUuid,
  previous: Head | undefined,
  body: HeadBody,
): BuiltHead {
  const generation = ((previous?.generation ?? 0) + 1) as Generation;
  const previousChain = previous?.chain ?? noChain;
  const chain = chainOf(archive, generation, previousChain, body);
  const log = concatBytes([previous?.log ?? new Uint8Array(0), logEntry(keys, generation, chain)]);
  const fields = { ...body, archive, generation, previousChain, chain, log };
  const bytes = encodeHead({ ...fields, mac: macOf(keys.head, headMacInput(fields)) });
  return { head: decodeHead(bytes, { archive, generation }), bytes, digest: fileDigest(bytes) };
}
