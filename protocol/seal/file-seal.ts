// Sealing and opening the files of a volume: index, header, manifest (docs/archive-format.md, F9). Every file gets a key
// of its own from a random salt, and no state of any nonce is kept anywhere: whoever writes a file again, after a
// crash, from a restored dom0 or on another machine, draws another salt (design section 8).

import { randomBytes } from "node:crypto";
import { encodePrefix, fileKinds, type FilePrefix, sha256 } from "../archive/prefix.ts";
import type { BodyOpener, BodySealer } from "../archive/sealed-body.ts";
import type { ArchiveUuid, VolumeId } from "../archive/types.ts";
import { concatBytes, equalBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";
import { encode, u16 } from "../wire/codec.ts";
import { nonceBytes, openBytes, sealBytes } from "./gcm.ts";
import { deriveKey, volumeKey } from "./keys.ts";

/** Bytes of the salt in a file's prefix. */
const saltBytes = 16;

/** Seals the files of any volume of the archive that `master` belongs to. `drawSalt` is for vectors only. */
export function fileSealer(
  master: Uint8Array,
  drawSalt: () => Uint8Array = () => new Uint8Array(randomBytes(saltBytes)),
): BodySealer {
  return {
    begin: (of, publicPart) => {
      const prefix: FilePrefix = { ...of, protection: "sealed", salt: drawSalt() };
      const key = fileKey(volumeKey(master, of.archive, of.volume), prefix);
      const associated = associatedData(prefix, publicPart);
      return {
        prefix,
        seal: (number, last, plaintext) => sealBytes(key, nonceOf(number, last), associated, plaintext),
      };
    },
  };
}

/** Opens the files of any volume of the archive that `master` belongs to. */
export function fileOpener(master: Uint8Array): BodyOpener {
  return opener((prefix) => volumeKey(master, prefix.archive, prefix.volume));
}

/** Opens the files of one volume, with its K_meta. */
export function volumeOpener(metaKey: Uint8Array, archive: ArchiveUuid, volume: VolumeId): BodyOpener {
  return opener((prefix) => {
    if (equalBytes(prefix.volume, volume) && equalBytes(prefix.archive, archive)) return metaKey;
    throw new FormatError("bad-mac", `open ${prefix.kind}: it is of another volume than the key`);
  });
}

function opener(metaKeyOf: (prefix: FilePrefix) => Uint8Array): BodyOpener {
  return {
    begin: (prefix, untrustedPublicPart) => {
      const key = fileKey(metaKeyOf(prefix), prefix);
      const associated = associatedData(prefix, untrustedPublicPart);
      return {
        open: (number, last, untrusted) =>
          openBytes(key, nonceOf(number, last), associated, untrusted, prefix.kind),
      };
    },
  };
}

/** HKDF of K_meta: kind (u16) ‖ salt. */
function fileKey(metaKey: Uint8Array, { archive, kind, salt }: FilePrefix): Uint8Array {
  return deriveKey(metaKey, archive, encode(u16, fileKinds[kind]), salt);
}

/** The whole prefix, and what stands readable before the sealed part. */
function associatedData(prefix: FilePrefix, publicPart: Uint8Array): Uint8Array {
  return concatBytes([encodePrefix(prefix), sha256(publicPart)]);
}

/** 1 in the last segment and 0 in the others, three zeros, the segment's number as u64: nothing can be cut off, added or
 *  moved (the STREAM construction). */
function nonceOf(number: number, last: boolean): Uint8Array {
  const nonce = new Uint8Array(nonceBytes);
  const view = new DataView(nonce.buffer);
  nonce[0] = last ? 1 : 0;
  view.setUint32(4, Math.floor(number / 2 ** 32));
  view.setUint32(8, number % 2 ** 32);
  return nonce;
}
