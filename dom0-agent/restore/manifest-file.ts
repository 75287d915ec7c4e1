// One session's manifest as a source for a merge: with container numbers that hold for all manifests of a map.

import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Container, VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ContainerRef, ManifestEntry } from "../../protocol/archive/manifest.ts";
import type { EntrySource } from "../../protocol/archive/merge.ts";
import { AgentError } from "../errors.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { fetchManifest } from "../archive/fetch-manifest.ts";

/** A manifest that has been checked; its file goes when it is disposed of. */
export interface NumberedManifest extends Disposable {
  /** All of its entries, from the first; each is good until the next is asked for. Throws AgentError `integrity`. */
  source(): EntrySource;
}

/** Fetches a session's manifest. Its entries have container numbers from `numberOf` instead of its own. Throws
 *  AgentError `integrity` where it is missing, damaged or another one. */
export async function numberedManifest(
  open: OpenArchive,
  index: VolumeIndex,
  container: Container,
  numberOf: (ref: ContainerRef) => number,
): Promise<NumberedManifest> {
  const path = join(open.paths.directory, `.manifest-${randomBytes(8).toString("hex")}`);
  const manifest = await fetchManifest(open, index, container, path);
  if (manifest.chunkSize !== open.record.chunkSize) {
    manifest[Symbol.dispose]();
    throw new AgentError(
      "integrity",
      `${index.name}: ${manifest.what}: chunks of ${manifest.chunkSize} bytes, wanted ${open.record.chunkSize}`,
    );
  }
  const own = numberOf({ volume: index.volume, session: container.uid });
  const numbers = Uint32Array.from([own, ...manifest.containers.map(numberOf)]);
  return {
    source: () => {
      const entries = manifest.entries();
      const next = (): ManifestEntry | undefined => {
        const { done, value } = entries.next();
        if (done === true) return undefined;
        return value.kind === "chunk" ? { ...value, container: numbers[value.container] ?? 0 } : value;
      };
      return { next };
    },
    [Symbol.dispose]: () => manifest[Symbol.dispose](),
  };
}
