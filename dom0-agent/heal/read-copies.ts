// No session is made to refer to a copy on anybody's word: dom0 reads each and opens it first.

import type { GroupId } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { chunkOpener } from "../../protocol/seal/chunk-seal.ts";
import { maxReadChunks } from "../../protocol/wire/messages.ts";
import { freePlaintext, openChunk } from "../../protocol/seal/open-chunk.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { RefusedError } from "../archive/refused-error.ts";
import type { Copy } from "../prune/copies.ts";
import type { Candidate, Uses } from "./find-uses.ts";
import { refKey } from "../state/lost-places.ts";

/** Refusals that concern what was asked for, and not the connection as a whole. */
const aboutChunks: ReadonlySet<string> = new Set(["missing", "corrupt", "io", "unsupported"]);

/** Those of the candidates that are right, one for each chunk, by hexadecimal id. `open` can read chunks. */
export async function readCopies(
  open: OpenArchive,
  group: GroupId,
  { candidates }: Pick<Uses, "candidates">,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Copy>> {
  const right = new Map<string, Copy>();
  const most = Math.max(0, ...[...candidates.values()].map((each) => each.length));
  for (let round = 0; round < most; round++) {
    const next = [...candidates].flatMap(([id, each]) => (right.has(id) ? [] : each.slice(round, round + 1)));
    for (const of of Map.groupBy(next, ({ container }) => refKey(container)).values()) {
      of.sort((a, b) => a.place.storedAddress - b.place.storedAddress);
      for (let at = 0; at < of.length; at += maxReadChunks) {
        signal.throwIfAborted();
        await readSome(open, group, of.slice(at, at + maxReadChunks), right);
      }
    }
  }
  return right;
}

/** Reads candidates of one container, in the order of their addresses there. */
async function readSome(
  open: OpenArchive,
  group: GroupId,
  some: readonly Candidate[],
  right: Map<string, Copy>,
): Promise<void> {
  const { idKey, sealed } = open.seal.chunkKeys(group);
  const seal = sealed && chunkOpener(sealed.groupKey, sealed.archive);
  for (let done = 0; done < some.length;) {
    const rest = some.slice(done);
    const [first] = rest;
    if (first === undefined) return;
    const { volume, session } = first.container;
    const addresses = rest.map((each) => each.place.storedAddress);
    try {
      await open.client.readChunks(volume, session, addresses, (_address, untrusted) => {
        const copy = some[done++];
        if (copy === undefined || untrusted === undefined) return;
        const { id, length, place, container } = copy;
        if (isRight(untrusted, { id, length, ...place }, idKey, seal))
          right.set(toHex(id), { container, id, place });
      });
    } catch (error) {
      if (!(error instanceof RefusedError) || !aboutChunks.has(error.code)) throw error;
      // Without its container, or with one that can't be opened, there are none; otherwise the next one can't be read.
      done = error.code === "missing" || error.code === "corrupt" ? some.length : done + 1;
    }
  }
}

function isRight(...args: Parameters<typeof openChunk>): boolean {
  try {
    freePlaintext(openChunk(...args));
    return true;
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}
