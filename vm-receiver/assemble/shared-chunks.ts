// Chunks that a volume's sessions share with other volumes of its group: those lie in the containers of the others, and
// the manifests alone say which they are (archive-format.md, F20). So a sealed archive's are seen only with a key.

import { hash } from "node:crypto";
import type { ArchiveHeader } from "../../protocol/archive/archive-header.ts";
import type { HeadVolume } from "../../protocol/archive/head.ts";
import type { Container } from "../../protocol/archive/index-file.ts";
import { type ContainerRef, type OpenManifest, openManifest } from "../../protocol/archive/manifest.ts";
import type { BodyOpener } from "../../protocol/archive/sealed-body.ts";
import { maxStoredLength } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { openIfThere } from "../directory.ts";
import { isDamage, RefusalError } from "../errors.ts";
import { fillFrom } from "../files.ts";
import { type Archive, findContainer } from "../store/archive.ts";
import type { StoredChunks } from "../store/stored-chunks.ts";
import { pace } from "../store/pace.ts";
import { stores } from "../store/stores.ts";
import { headOf } from "./checked-archive.ts";
import { recordSource } from "./manifest-source.ts";

/** Containers of other volumes that are open at once. */
const maxOpen = 16;

/**
 * Reads every chunk that the manifest of a session finds in another volume, as of the archive's head, and checks it. The
 * manifest's digest is the caller's to check before. `unknown`: it is sealed, and `opener` does not open it. `onBytes` is
 * called on the way, and may throw.
 */
export async function sharedChunksOf(
  archive: Archive,
  of: HeadVolume,
  session: Container,
  { chunkSize, sealed }: ArchiveHeader,
  opener: BodyOpener | undefined,
  onBytes: () => void,
): Promise<"whole" | "broken" | "unknown"> {
  const { name, form, manifestGeneration: generation } = session;
  using directory = openIfThere(archive.root, of.directory);
  try {
    using file = directory && stores[form].open(directory, name, { kind: "manifest", generation });
    if (file === undefined) return "broken";
    const source = {
      length: file.length,
      read: (into: Uint8Array, offset: number) => fillFrom(file, offset, into),
    };
    let manifest: OpenManifest;
    try {
      const expected = { archive: headOf(archive).archive, volume: of.volume, generation };
      manifest = openManifest(source, expected, opener);
    } catch (error) {
      if (sealed && error instanceof FormatError) return "unknown";
      throw error;
    }
    const right = manifest.chunkSize === chunkSize && (await areWhole(archive, of, manifest, onBytes));
    return right ? "whole" : "broken";
  } catch (error) {
    if (isDamage(error) || error instanceof RefusalError) return "broken";
    throw error;
  }
}

async function areWhole(
  archive: Archive,
  of: HeadVolume,
  manifest: OpenManifest,
  onBytes: () => void,
): Promise<boolean> {
  if (manifest.containers.every((each) => equalBytes(each.volume, of.volume))) return true;
  using others = otherContainers(archive);
  const into = new Uint8Array(maxStoredLength(manifest.chunkSize));
  const records = recordSource(manifest, () => undefined);
  const turn = pace();
  for (let entry = records.next(); entry !== undefined; entry = records.next()) {
    await turn();
    onBytes();
    // 0 is the session itself: what lies in its own volume is on that volume's lists.
    const ref = entry.kind === "chunk" ? manifest.containers[entry.container - 1] : undefined;
    if (entry.kind === "hole" || ref === undefined || equalBytes(ref.volume, of.volume)) continue;
    if (others.chunks(ref)?.read(entry.storedAddress, into) !== entry.storedLength) return false;
    const stored = into.subarray(0, entry.storedLength);
    if (!equalBytes(hash("sha256", stored, "buffer"), entry.checksum)) return false;
  }
  return true;
}

interface OtherContainers extends Disposable {
  /** undefined where the head names no such container, or it is not there. Throws FormatError, RefusalError. */
  chunks(ref: ContainerRef): StoredChunks | undefined;
}

/** Keeps at most 16 open. */
function otherContainers(archive: Archive): OtherContainers {
  /** The one used last is last. */
  const open = new Map<string, { readonly chunks: StoredChunks | undefined }>();
  const openNow = (ref: ContainerRef): StoredChunks | undefined => {
    using found = findContainer(archive, ref);
    return found && stores[found.container.form].chunks(found.directory, found.container.name);
  };
  return {
    chunks: (ref) => {
      const key = toHex(ref.volume) + toHex(ref.session);
      const known = open.get(key) ?? { chunks: openNow(ref) };
      open.delete(key);
      open.set(key, known);
      const [oldest] = open;
      if (open.size > maxOpen && oldest !== undefined) {
        open.delete(oldest[0]);
        oldest[1].chunks?.[Symbol.dispose]();
      }
      return known.chunks;
    },
    [Symbol.dispose]: () => {
      for (const { chunks } of open.values()) chunks?.[Symbol.dispose]();
    },
  };
}
