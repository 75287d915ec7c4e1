// The main job on real LVM thin volumes, in QEMU guests (design sections 5 and 7).

import { describe, expect, test } from "vitest";
import { runProgram, someOf } from "./run-program.ts";

describe("on real thin volumes", () => {
  // Smaller than our chunks, as large, and larger.
  const poolChunks = someOf(["64k", "128k", "1m", "2m"], 1);
  test.each(poolChunks)(
    "three volumes, one of them of a running VM, in a pool with chunks of %s",
    async (chunk) => {
      const said = await runProgram("main-job", [chunk]);
      expect(said.match(/^ok assembled/gm)?.length).toBeGreaterThan(9);
    },
  );

  test("sessions and volumes go, and get another name", async () => {
    const said = await runProgram("life");
    expect(said.match(/^ok (?:prune|rename|delete)$/gm)?.length).toBe(3);
  });

  test("two destinations from one pair of snapshots", async () => {
    const said = await runProgram("destinations");
    expect(said.match(/^ok send/gm)?.length).toBe(6);
  });

  test("monitors while a send runs", async () => {
    const said = await runProgram("held-send");
    expect(said.match(/^ok (?:held|next|other)$/gm)?.length).toBe(3);
  });

  test("a lost chunk of a volume that has not changed", async () => {
    const said = await runProgram("heal");
    expect(said.match(/^ok put back/gm)?.length).toBe(2);
  });

  const drives = someOf(["vfat tar", "exfat dir", "exfat tar", "ntfs-3g dir", "nfs dir", "nfs tar"], 2);
  test(`drives as people have them: ${drives.join(", ")}`, async () => {
    const said = await runProgram("drives", drives);
    expect(said.match(/^ok (?:sent|kept): /gm)?.length).toBe(2 * drives.length);
  });

  test("sectors that can't be read, below the pool and on the drive", async () => {
    const said = await runProgram("bad-sectors");
    expect(said.match(/^ok (?:source|drive)/gm)?.length).toBe(4);
  });
});
