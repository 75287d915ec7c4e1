// Which chunk a tar member is, by its header alone: what walks through a tar, or changes it, looks at nothing else.

import { parseChunkFile } from "../../../protocol/archive/names.ts";
import type { ChunkAddress } from "../../../protocol/archive/types.ts";

/** The address of the chunk of `session` that a member's header names; undefined for any other member, and for what is
 *  no header. */
export function chunkOfMember(header: Uint8Array, session: string): ChunkAddress | undefined {
  if (!hasChecksum(header)) return undefined;
  const path = Buffer.from(header.buffer, header.byteOffset, 100).toString("latin1").replace(/\0+$/, "");
  const [first, group, file = "", ...more] = path.split("/");
  const address = parseChunkFile(file);
  if (address === undefined || first !== session || more.length > 0) return undefined;
  return group === file.slice(1, 10) ? address : undefined;
}

/** A tar header's checksum: the sum of its bytes, itself taken for spaces. */
function hasChecksum(header: Uint8Array): boolean {
  const [from, to] = [148, 156];
  const stated = Number.parseInt(Buffer.from(header.subarray(from, to)).toString("latin1"), 8);
  let sum = 8 * 0x20;
  for (let i = 0; i < header.length; i++) if (i < from || i >= to) sum += header[i] ?? 0;
  return stated === sum;
}
