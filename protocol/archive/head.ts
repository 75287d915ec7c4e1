// `heads/N`: one state of the archive. Creating it is the only commit (design section 7), so it names, by digest,
// everything that the state consists of, and it is chained to the head before it.

import { createHash } from "node:crypto";
import { concatBytes, equalBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";
import { type Codec, decode, encode, list, struct } from "../wire/codec.ts";
import { directoryName } from "./names.ts";
import { decodeFile, encodeFile, noVolume, plainPrefix } from "./prefix.ts";
import {
  type ArchiveUuid,
  type Digest,
  digest,
  type Generation,
  generation,
  type Mac,
  mac,
  time,
  type VolumeId,
  volumeId,
} from "./types.ts";

/** Where a volume stands in this state. */
export interface HeadVolume {
  readonly volume: VolumeId;
  /** Its directory: the escaped name, or an opaque id in a sealed archive. */
  readonly directory: string;
  /** `index.N` that counts, and the digest that it ends with. */
  readonly indexGeneration: Generation;
  readonly indexDigest: Digest;
}

/** What the chain is made over. */
export interface HeadBody {
  /** Milliseconds since 1970, by dom0's clock. For people; order is the generation. */
  readonly createdAt: number;
  /** The `archive` file that counts: 0 until key slots have been changed. */
  readonly archiveGeneration: Generation;
  readonly archiveDigest: Digest;
  /** Sorted by volume id. */
  readonly volumes: readonly HeadVolume[];
}

export interface Head extends HeadBody {
  readonly archive: ArchiveUuid;
  readonly generation: Generation;
  readonly previousChain: Digest;
  /** H(chain of N−1 ‖ body). */
  readonly chain: Digest;
  /** One short MAC a generation, from 1 to N, side by side, logEntryBytes each: what a receipt is compared with. One
   *  array, because there may be a million; a view into what was decoded. */
  readonly log: Uint8Array;
  /** HMAC under dom0's metadata key, over all before it. */
  readonly mac: Mac;
}

/** Most volumes of an archive, most generations that a head's log holds, and the bytes of the largest head. */
export const maxVolumes = 65_536;
export const maxGenerations = 1_048_576;
export const maxHeadBytes: number = 26 * 1024 * 1024;
export const logEntryBytes = 8;

/** The chain before the first head. */
export const noChain: Digest = new Uint8Array(32) as Digest;

const headVolume: Codec<HeadVolume> = struct<HeadVolume>({
  volume: volumeId,
  directory: directoryName,
  indexGeneration: generation,
  indexDigest: digest,
});
const bodyCodec: Codec<HeadBody> = struct<HeadBody>({
  createdAt: time,
  archiveGeneration: generation,
  archiveDigest: digest,
  volumes: list(headVolume, maxVolumes),
});
type Tail = Pick<Head, "previousChain" | "chain" | "log">;
const log: Codec<Uint8Array> = {
  write: (w, v) => {
    const count = v.length / logEntryBytes;
    if (!Number.isInteger(count)) throw new FormatError("bad-value", `write log: ${v.length} bytes`);
    if (count > maxGenerations)
      throw new FormatError("too-long", `write log: ${count} entries, at most ${maxGenerations} allowed`);
    w.u32(count);
    w.bytes(v);
  },
  read: (r, what) => {
    const count = r.u32();
    if (count > maxGenerations)
      throw new FormatError("too-long", `read ${what}: ${count} entries, at most ${maxGenerations} allowed`);
    return r.bytes(count * logEntryBytes);
  },
};
const tail: Codec<Tail> = struct<Tail>({
  previousChain: digest,
  chain: digest,
  log,
});
type Authenticated = HeadBody & Tail & { readonly mac: Mac };
const whole: Codec<Authenticated> = {
  write: (w, v) => {
    bodyCodec.write(w, v);
    tail.write(w, v);
    mac.write(w, v.mac);
  },
  read: (r, what) => ({ ...bodyCodec.read(r, what), ...tail.read(r, what), mac: mac.read(r, `${what}.mac`) }),
};

/** The entry of generation `at` in a head's log; undefined where the log has none. */
export function logEntryOf(head: Pick<Head, "log">, at: number): Uint8Array | undefined {
  const end = at * logEntryBytes;
  return at >= 1 && end <= head.log.length ? head.log.subarray(end - logEntryBytes, end) : undefined;
}

/** chain of N = SHA-256("sparsebak chain v1" ‖ archive ‖ N ‖ chain of N−1 ‖ body of N). */
export function chainOf(archive: ArchiveUuid, at: Generation, previous: Digest, body: HeadBody): Digest {
  const hash = createHash("sha256").update("sparsebak chain v1");
  hash.update(archive).update(encode(generation, at)).update(previous).update(encode(bodyCodec, body));
  return new Uint8Array(hash.digest()) as Digest;
}

/** What `mac` is made over: generation, body, chain and log; the archive's uuid belongs to the key. */
export function headMacInput(head: Omit<Head, "mac">): Uint8Array {
  return concatBytes([encode(generation, head.generation), encode(bodyCodec, head), encode(tail, head)]);
}

/** The bytes of `heads/N`. */
export function encodeHead(head: Head): Uint8Array {
  check(head);
  return encodeFile(plainPrefix("head", head.archive, noVolume, head.generation), encode(whole, head));
}

/**
 * Reads a head and checks all that can be checked without a key: the digest, the chain's last link, the length of
 * the log, the order of the volumes. Whether the MAC is right only dom0 can say.
 */
export function decodeHead(
  untrusted: Uint8Array,
  expected: { readonly archive?: ArchiveUuid; readonly generation?: Generation } = {},
): Head {
  const file = decodeFile(untrusted, { kind: "head", volume: noVolume, ...expected });
  const fields = decode(whole, file.body, "head");
  const head: Head = { ...fields, archive: file.prefix.archive, generation: file.prefix.generation };
  check(head);
  return head;
}

function check(head: Head): void {
  if (head.generation < 1 || head.log.length !== head.generation * logEntryBytes) {
    throw new FormatError(
      "bad-value",
      `read head ${head.generation}: its log has ${head.log.length / logEntryBytes} entries`,
    );
  }
  if (head.generation === 1 && !equalBytes(head.previousChain, noChain)) {
    throw new FormatError("bad-value", "read head 1: something before the first head");
  }
  if (!equalBytes(head.chain, chainOf(head.archive, head.generation, head.previousChain, head))) {
    throw new FormatError("bad-digest", `read head ${head.generation}: its chain does not fit its body`);
  }
  const directories = new Set<string>();
  let before: VolumeId | undefined;
  for (const each of head.volumes) {
    if (before && Buffer.compare(before, each.volume) >= 0) {
      throw new FormatError("bad-order", `read head ${head.generation}: volumes out of order`);
    }
    if (each.indexGeneration < 1 || each.indexGeneration > head.generation) {
      throw new FormatError(
        "bad-value",
        `read head ${head.generation}: an index of generation ${each.indexGeneration}`,
      );
    }
    before = each.volume;
    directories.add(each.directory.toLowerCase());
  }
  if (directories.size !== head.volumes.length) {
    throw new FormatError("bad-value", `read head ${head.generation}: two volumes in one directory`);
  }
  if (head.archiveGeneration > head.generation) {
    throw new FormatError(
      "bad-value",
      `read head ${head.generation}: an archive header from generation ${head.archiveGeneration}`,
    );
  }
}
