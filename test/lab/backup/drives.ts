// In the guest: the file systems that a drive comes with, as the arguments say ("vfat tar"). FAT and exFAT have no hard links,
// no holes and no modes; NTFS is there through FUSE, where syncing the file system proves nothing; NFS has a server of its
// own. The life of an archive on each, with a send that is killed when its data is on the way; and one whose server goes.

import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { check, mib, must, say, sha256 } from "./guest-program.ts";
import { checkNothingLeft, makeGuestSite, untilStopped, writeSettings } from "./guest-site.ts";
import { device, exists, write } from "./guest-volumes.ts";

const volume = "vm-work-private";
const disk = "/dev/vdb";
const nfs = join(process.env["LAB_PROJECT"] ?? "", "test/lab/backup/nfs-drive.sh");
interface Drive {
  readonly make: readonly [string, ...string[]];
  readonly mount: readonly [string, ...string[]];
  readonly settings?: readonly string[];
}
const drives: Readonly<Record<string, Drive>> = {
  vfat: { make: ["mkfs.vfat", "-F", "32"], mount: ["mount", "-t", "vfat"] },
  exfat: { make: ["mkfs.exfat"], mount: ["mount", "-t", "exfat"] },
  "ntfs-3g": { make: ["mkfs.ntfs", "--quick", "--force"], mount: ["ntfs-3g"] },
  // The last ones: it keeps the disk.
  nfs: { make: [nfs, "make"], mount: [nfs, "mount"], settings: ["stall-seconds = 30"] },
};
const site = makeGuestSite({ volumes: [volume], volumeSize: "16M" });

/** A drive and a dom0 that know nothing. */
function anew({ make, mount, settings = [] }: Drive): void {
  must("umount", site.drive);
  must(...make, disk);
  must(...mount, disk, site.drive);
  if (exists(`${volume}.tick`)) must("lvremove", "-f", "@sparsebak");
  rmSync(site.state, { recursive: true });
  mkdirSync(site.state);
  writeSettings({ volumes: [volume], settings });
}

/** The server of the drive goes away while a send's data is on the way, and comes back when the send has given up. */
async function serverGone(...send: readonly string[]): Promise<void> {
  const held = site.heldAt(/journal-/, ...send);
  await untilStopped(held);
  must(nfs, "stop");
  process.kill(held.pid ?? 0, "SIGCONT");
  await once(held, "exit");
  check(held.exitCode === 4, `a send to a drive whose server is gone: ${held.exitCode}, wanted 4`);
  must(nfs, "start");
}

for (const what of process.argv.slice(2)) {
  const [name = "", kind] = what.split(" ");
  const drive = drives[name];
  if (drive === undefined)
    throw new Error(`drives: found ${name}, wanted one of ${Object.keys(drives).join()}`);
  const form = kind === "tar" ? ["--tarfile"] : [];
  anew(drive);
  write(volume, 0, 6 * mib);
  site.good("-u", "send", ...form);
  const before = sha256(device(volume));
  write(volume, 4 * mib, 4 * mib);
  const killed = site.heldAt(/journal-/, "-u", "send", ...form);
  await untilStopped(killed);
  killed.kill("SIGKILL");
  await once(killed, "exit");
  if (name === "nfs") await serverGone("-u", "send", ...form);
  site.good("-u", "send", ...form);
  checkNothingLeft(site);
  const [first, last, ...more] = site.sessions(volume);
  check(last !== undefined && more.length === 0, `${what}: ${site.sessions(volume)}, wanted two`);
  check(site.assembled(volume, first) === before, `${what}: the first session is not what was sent`);
  say(`ok sent: ${what}`);

  site.good("-u", "prune", volume, "--keep-last", "1");
  check(site.sessions(volume).join() === last, `${what}: ${site.sessions(volume)}, wanted ${last}`);
  site.good("-u", "check", "--read-data");
  site.good("-u", "assemble", volume, "--save-to", "work.img");
  const image = sha256(join(site.drive, "work.img"));
  check(image === sha256(device(volume)), `${what}: the image is not what was sent`);
  say(`ok kept: ${what}`);
}
say("done");
