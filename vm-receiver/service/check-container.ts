// Before a head names a new session: its files are there under their final names, they are whole, and they have the
// digests that the index names. Read back from the file system, not remembered from when they came.

import { createHash } from "node:crypto";
import { read } from "node:fs";
import { promisify } from "node:util";
import type { Container } from "../../protocol/archive/index-file.ts";
import { type ArchiveUuid, type Digest, digestBytes, type VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { Directory } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { readStretch, type StoredFile } from "../files.ts";
import { corruptUnless } from "../store/archive.ts";
import { stores } from "../store/stores.ts";

const readAt = promisify(read);
const stretchBytes = 1024 * 1024;

/** RefusalError `missing` or `corrupt` where the session is not all there. */
export async function checkContainer(
  volume: Directory,
  container: Container,
  of: { readonly archive: ArchiveUuid; readonly volume: VolumeId },
): Promise<void> {
  const store = stores[container.form];
  const identity = store.identityOf(volume, container.name);
  if (identity === undefined)
    throw new RefusalError("missing", "a session that the index names is not there, or not finished");
  const ours =
    equalBytes(identity.session, container.uid) &&
    equalBytes(identity.volume, of.volume) &&
    equalBytes(identity.archive, of.archive);
  if (!ours) throw new RefusalError("malformed", "the index names a session by another one's name");
  const { headerDigest, manifestDigest, listDigest } = container;
  // One without a header is what an interrupted session has left: chunks, and a list of them.
  const files = isWithoutSession(container)
    ? { list: listDigest }
    : { header: headerDigest, manifest: manifestDigest, list: listDigest };
  for (const [file, wanted] of Object.entries(files) as ["header" | "manifest" | "list", Digest][]) {
    using stored = corruptUnless(`the ${file} of a new session`, () => {
      if (file === "header") return store.open(volume, container.name, { kind: file });
      const generation = container[`${file}Generation`];
      return store.open(volume, container.name, { kind: file, generation });
    });
    if (stored === undefined) throw new RefusalError("missing", `a new session has no ${file}`);
    await checkDigest(stored, wanted, file);
  }
}

/** True for a container that never had a session (archive-format.md, F16). */
export function isWithoutSession({ headerDigest }: Container): boolean {
  return headerDigest.every((byte) => byte === 0);
}

/** The last 32 bytes are the SHA-256 of all before, and are what is wanted. */
async function checkDigest(file: StoredFile, wanted: Digest, what: string): Promise<void> {
  const end = file.length - digestBytes;
  const hash = createHash("sha256");
  const buffer = new Uint8Array(Math.min(stretchBytes, Math.max(end, 1)));
  for (let at = 0; at < end;) {
    const { bytesRead } = await readAt(
      file.fd,
      buffer,
      0,
      Math.min(buffer.length, end - at),
      file.offset + at,
    );
    if (bytesRead === 0) throw new RefusalError("corrupt", `the ${what} of a new session ends early`);
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  const found = corruptUnless(`the ${what} of a new session`, () => readStretch(file, end, digestBytes));
  if (!equalBytes(hash.digest(), found))
    throw new RefusalError("corrupt", `the ${what} of a new session is damaged`);
  if (!equalBytes(found, wanted)) {
    throw new RefusalError("malformed", `the ${what} of a new session is not the one that the index names`);
  }
}
