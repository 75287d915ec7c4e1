// The power of one side alone is cut in the middle of a large send, three times over; the next send goes on where the
// last checkpoint was (design section 5). A cut is SIGKILL, and then the side's file system as its disk has it: a copy of
// the loop device's file takes its place. Mounted with commit=3600, it holds what somebody has synced, and nothing else
// that makes sense. (Cuts that hit both sides, LVM's too: test/lab/backup/power.test.ts.)

import { spawnSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { expect, test } from "vitest";
import { randomBytesOf } from "../../bench/image.ts";
import { checkpointBytes } from "../../vm-receiver/service/checkpoints.ts";
import { type Ended, makeSite, sha256Of, type Site } from "../support/site.ts";
import { expectSessions, linesOf, run } from "../support/site-sessions.ts";

const mib = 1024 * 1024;
const chunkBytes = 128 * 1024;
/** Does not compress: what is stored is what was read. */
const dataBytes = 1920 * mib;
const shares = [0.3, 0.6, 0.9];
const volume = "work.img";

/** A side, and how its sessions are stored. */
const cases = [
  ["receiver", "tar", ["--tarfile"]],
  ["agent", "directory", []],
  ["receiver", "directory", []],
  ["agent", "tar", ["--tarfile"]],
] as const;

test.each(cases)(
  "the power fails at three places of a send: the %s, %s",
  { timeout: 600_000 },
  async (side, _, form) => {
    const mountOptions = ["commit=3600"];
    await using site = await makeSite({
      volumes: [volume],
      driveBytes: 4096 * mib,
      mountOptions,
      local: true,
    });
    using stateDisk = stateOnItsOwnDisk(site, mountOptions);
    writeRandom(site.image(volume));
    const cut = side === "agent" ? () => stateDisk.cut() : () => cutDrive(site);

    for (const share of shares) {
      const ended = await sendUntil(site, form, share * dataBytes, side, cut);
      expect(ended.code, `at ${share}: ${ended.stderr}`).not.toBe(0);
      if (side === "receiver") expect(ended.stderr).toMatch(/receiver|connection/);
      const scrubbed = await site.spbkAssemble(["--scrub", site.archive]);
      expect(scrubbed, `at ${share}: ${scrubbed.stdout}${scrubbed.stderr}`).toMatchObject({ code: 0 });
    }
    const line = linesOf(await run(site, "--json", "send", ...form)).find(({ type }) => type === "volume");
    expect(line).toMatchObject({ kind: "full", chunks: expect.any(Number) as number });
    expect(Number(line?.["chunks"]) + Number(line?.["reused"])).toBe(dataBytes / chunkBytes);
    // What came after the last checkpoint is sent again, and a checkpoint may have been under way.
    const lost = Math.max(0, (shares.at(-1) ?? 0) * dataBytes - 2 * checkpointBytes);
    expect(line?.["reused"]).toBeGreaterThanOrEqual(lost / chunkBytes);
    // What the agent's disk has lost the memory of lies in a list, and no session refers to it: a prune's business.
    await run(site, "prune", "--keep-last", "1");
    const session = `${volume} ${String(line?.["session"])}`;
    await expectSessions(site, new Map([[session, sha256Of(site.image(volume))]]), [session]);
  },
);

/** Starts a send, and cuts the side's power once `bytes` lie on the drive. */
async function sendUntil(
  site: Site,
  form: readonly string[],
  bytes: number,
  side: "agent" | "receiver",
  cut: () => void,
): Promise<Ended> {
  let agent = 0;
  const ended = site.sparsebak(["-u", "send", ...form], { onStart: (pid) => (agent = pid) });
  let over = false;
  void ended.then(() => (over = true));
  while (usedBytes(site) < bytes) {
    if (over) throw new Error(`the send ended before its cut at ${bytes} bytes: ${(await ended).stderr}`);
    await wait(10);
  }
  const receiver = receiverOf(agent);
  process.kill(side === "agent" ? agent : receiver, "SIGKILL");
  if (side === "receiver") cut();
  const result = await ended;
  // The receiver stores what is still in the pipe, and goes; its disk is not the one that is lost.
  const lock = join(site.archive, "lock");
  if (side === "agent") {
    expect(spawnSync("flock", ["--wait", "60", lock, "true"]).status, "the archive stays locked").toBe(0);
    cut();
  }
  return result;
}

function usedBytes(site: Site): number {
  const { blocks, bfree, bsize } = statfsSync(site.drive);
  return (blocks - bfree) * bsize;
}

function receiverOf(agent: number): number {
  const children = readFileSync(`/proc/${agent}/task/${agent}/children`, "utf8").trim().split(" ");
  const found = children.find((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("receiver.mjs"));
  if (found === undefined) throw new Error(`${agent} has no receiver: ${children.join(" ")}`);
  return Number(found);
}

/** The drive becomes what has reached its disk. */
function cutDrive(site: Site): void {
  const disk = join(site.directory, "disk");
  copyFileSync(disk, `${disk}.cut`);
  site.unmount();
  must("mv", [`${disk}.cut`, disk]);
  site.mount();
}

interface StateDisk extends Disposable {
  cut(): void;
}

/** Puts dom0's state on a file system of its own, which a cut makes what has reached its disk. */
function stateOnItsOwnDisk(site: Site, mountOptions: readonly string[]): StateDisk {
  const disk = join(site.directory, "state-disk");
  writeFileSync(disk, "");
  truncateSync(disk, 256 * mib);
  must("mkfs.ext4", ["-q", "-F", disk]);
  const mount = (): void => {
    must("mount", ["-o", ["loop", ...mountOptions].join(), disk, site.state]);
  };
  const settings = readFileSync(site.ini);
  mount();
  writeFileSync(site.ini, settings);
  must("sync", ["-f", site.ini]);
  return {
    cut: () => {
      copyFileSync(disk, `${disk}.cut`);
      must("umount", [site.state]);
      must("mv", [`${disk}.cut`, disk]);
      mount();
    },
    [Symbol.dispose]: () => {
      must("umount", [site.state]);
      rmSync(disk);
    },
  };
}

function writeRandom(path: string): void {
  const random = randomBytesOf(41);
  const fd = openSync(path, "w");
  for (let done = 0; done < dataBytes; done += 4 * mib) writeSync(fd, random(4 * mib));
  closeSync(fd);
}

function must(command: string, args: readonly string[]): void {
  const done = spawnSync(command, args, { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.stderr}`);
}
