// Manifests that name containers without end, each another one: an error, and not all of the memory there is.

import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import type { VolumeIndex } from "../../../protocol/archive/index-file.ts";
import { maxContainers } from "../../../protocol/archive/manifest.ts";
import type { SessionUid, VolumeId } from "../../../protocol/archive/types.ts";
import type { ArchiveState } from "../../../vm-receiver/assemble/archive-state.ts";
import { containerTable } from "../../../vm-receiver/assemble/places.ts";

test("no more containers are numbered than a record can name", () => {
  const volume = new Uint8Array(randomBytes(16)) as VolumeId;
  const index = { volume, containers: [] as VolumeIndex["containers"] } as VolumeIndex;
  const table = containerTable({ path: "/archive" } as ArchiveState, "work", index);
  const session = new Uint8Array(16) as SessionUid;
  const view = new DataView(session.buffer);
  const numbered = (n: number): number => {
    view.setUint32(0, n);
    return table.numberOf({ volume, session: session.slice() as SessionUid });
  };
  for (let n = 1; n <= maxContainers; n++) numbered(n);
  expect(numbered(maxContainers)).toBe(maxContainers);
  expect(() => numbered(0)).toThrow("manifests name more than 262144 containers, /archive/work");
});
