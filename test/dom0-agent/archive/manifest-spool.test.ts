import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { manifestSpool } from "../../../dom0-agent/archive/manifest-spool.ts";
import { concatBytes } from "../../../protocol/bytes.ts";
import {
  decodeManifestHead,
  type ManifestEntry,
  recordBytes,
  recordReader,
} from "../../../protocol/archive/manifest.ts";
import { sha256 } from "../../../protocol/archive/prefix.ts";
import type {
  ChunkAddress,
  ChunkId,
  Digest,
  Generation,
  SessionUid,
} from "../../../protocol/archive/types.ts";
import { tempDir } from "../../support/temp-dir.ts";

const chunkSize = 65_536;
const size = 20_000 * chunkSize;

function chunk(index: number): ManifestEntry {
  return {
    kind: "chunk",
    address: (index * chunkSize) as ChunkAddress,
    run: 1,
    id: new Uint8Array(32).fill(1 + (index % 200)) as ChunkId,
    container: 0,
    storedAddress: (index * chunkSize) as ChunkAddress,
    storedLength: 100 + index,
    checksum: new Uint8Array(32).fill(index % 250) as Digest,
  };
}

function copy<T extends Uint8Array>(bytes: T): T {
  return bytes.slice() as T;
}

function hole(index: number, run: number): ManifestEntry {
  return { kind: "hole", address: (index * chunkSize) as ChunkAddress, run };
}

describe("manifest spool", () => {
  test("gives back what was added, holes side by side as one, and makes a manifest that says the same", () => {
    using directory = tempDir();
    const path = join(directory.path, "entries");
    const wanted: ManifestEntry[] = [hole(0, 3)];
    {
      using spool = manifestSpool(path, { size, chunkSize });
      spool.add([hole(0, 1), hole(1, 1)]);
      spool.add([hole(2, 1)]);
      for (let i = 4; i < 9004; i++) {
        const entry = i % 1000 === 0 ? hole(i, 1) : chunk(i);
        spool.add([entry]);
        wanted.push(entry);
      }
      spool.add([hole(9500, 2), hole(9502, 3)]);
      wanted.push(hole(9500, 5));
      spool.finish();
      expect(spool.records).toBe(wanted.length);
      const seen: ManifestEntry[] = [];
      for (const entry of spool.entries()) {
        seen.push(
          entry.kind === "hole" ? entry : { ...entry, id: copy(entry.id), checksum: copy(entry.checksum) },
        );
      }
      expect(seen).toEqual(wanted);

      const of = {
        archive: new Uint8Array(16).fill(1),
        volume: new Uint8Array(16).fill(2),
        generation: 3 as Generation,
        session: new Uint8Array(16).fill(4) as SessionUid,
        size,
        chunkSize,
        containers: [],
      } as unknown as Parameters<typeof spool.manifest>[0];
      const manifest = spool.manifest(of, undefined);
      const parts: Uint8Array[] = [];
      for (const part of manifest.parts()) parts.push(part.slice());
      const bytes = concatBytes(parts);
      expect(bytes.length).toBe(manifest.length);
      expect(sha256(bytes.subarray(0, -32))).toEqual(manifest.digest);
      const head = decodeManifestHead(bytes, bytes.length, { generation: 3 as Generation });
      expect(head).toMatchObject({ records: wanted.length, size, chunkSize });
      const records = bytes.subarray(head.recordsAt, head.recordsAt + head.records * recordBytes);
      expect(recordReader(head).read(records)).toEqual(wanted);
    }
    expect(existsSync(path)).toBe(false);
  });
});
