// The limits of a head fit together: one with as many volumes and generations as there may be is not longer than a head
// may be, and its log stays one array however long it is.

import { expect, test } from "vitest";
import {
  chainOf,
  decodeHead,
  encodeHead,
  type HeadBody,
  logEntryBytes,
  logEntryOf,
  maxGenerations,
  maxHeadBytes,
  maxVolumes,
  noChain,
} from "../../../protocol/archive/head.ts";
import type { ArchiveUuid, Digest, Generation, Mac, VolumeId } from "../../../protocol/archive/types.ts";

test("the largest head that there may be is as long as a head may be, and is read", () => {
  const archive = new Uint8Array(16).fill(7) as ArchiveUuid;
  const generation = maxGenerations as Generation;
  const indexDigest = new Uint8Array(32) as Digest;
  const volumes = Array.from({ length: maxVolumes }, (_, i) => {
    const volume = new Uint8Array(16) as VolumeId;
    new DataView(volume.buffer).setUint32(0, i);
    return {
      volume,
      directory: `v${String(i).padStart(199, "0")}`,
      indexGeneration: generation,
      indexDigest,
    };
  });
  const body: HeadBody = {
    createdAt: 1,
    archiveGeneration: generation,
    archiveDigest: new Uint8Array(32) as Digest,
    volumes,
  };
  const log = new Uint8Array(maxGenerations * logEntryBytes).map((_, i) => i % 251);
  const chain = chainOf(archive, generation, noChain, body);
  const mac = new Uint8Array(32) as Mac;
  const bytes = encodeHead({ ...body, archive, generation, previousChain: noChain, chain, log, mac });
  expect(bytes.length).toBeLessThanOrEqual(maxHeadBytes);

  const head = decodeHead(bytes);
  expect(head.volumes.length).toBe(maxVolumes);
  expect(head.log.length).toBe(log.length);
  expect(logEntryOf(head, maxGenerations)).toEqual(log.subarray(-logEntryBytes));
  expect(logEntryOf(head, 1)).toEqual(log.subarray(0, logEntryBytes));
  expect(logEntryOf(head, 0)).toBeUndefined();
  expect(logEntryOf(head, maxGenerations + 1)).toBeUndefined();
});
