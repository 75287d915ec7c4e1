// In the guest: the file systems that a USB drive comes with. FAT and exFAT have no hard links, no holes and no modes; NTFS
// is there through FUSE, where syncing the file system proves nothing. The life of an archive on each, with a send that is killed when its data is on the way.

import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  check,
  checkNothingLeft,
  device,
  exists,
  makeGuestSite,
  mib,
  must,
  say,
  sha256,
  untilStopped,
  write,
  writeSettings,
} from "./guest-site.ts";

const volume = "vm-work-private";
const disk = "/dev/vdb";
const drives = [
  { name: "vfat", make: ["mkfs.vfat", "-F", "32"], mount: ["mount", "-t", "vfat"], forms: ["tar"] },
  { name: "exfat", make: ["mkfs.exfat"], mount: ["mount", "-t", "exfat"], forms: ["dir", "tar"] },
  { name: "ntfs-3g", make: ["mkfs.ntfs", "--quick", "--force"], mount: ["ntfs-3g"], forms: ["dir"] },
] as const;
const site = makeGuestSite({ volumes: [volume] });
must("lvcreate", "-V", "16M", "-T", "qubes_dom0/vm-pool", "-n", volume);

function good(...args: readonly string[]): string {
  const ended = site.sparsebak("-u", ...args);
  check(ended.code === 0, `${args.join(" ")}: ${ended.code}\n${ended.stdout}\n${ended.stderr}`);
  return ended.stdout + ended.stderr;
}

/** A drive and a dom0 that know nothing. */
function anew({ make, mount }: (typeof drives)[number]): void {
  const [maker = "", ...makerArgs] = make;
  const [mounter = "", ...mounterArgs] = mount;
  must("umount", site.drive);
  must(maker, ...makerArgs, disk);
  must(mounter, ...mounterArgs, disk, site.drive);
  if (exists(`${volume}.tick`)) must("lvremove", "-f", "@sparsebak");
  rmSync(site.state, { recursive: true });
  mkdirSync(site.state);
  writeSettings({ volumes: [volume] });
}

for (const drive of drives) {
  for (const each of drive.forms) {
    const what = `${drive.name}, ${each}`;
    const form = each === "tar" ? ["--tarfile"] : [];
    anew(drive);
    write(volume, 0, 6 * mib);
    good("send", ...form);
    const before = sha256(device(volume));
    write(volume, 4 * mib, 4 * mib);
    const killed = site.heldAt(/journal-/, "-u", "send", ...form);
    await untilStopped(killed);
    killed.kill("SIGKILL");
    await once(killed, "exit");
    good("send", ...form);
    checkNothingLeft(site);
    const [first, last, ...more] = site.sessions(volume);
    check(last !== undefined && more.length === 0, `${what}: ${site.sessions(volume)}, wanted two`);
    check(site.assembled(volume, first) === before, `${what}: the first session is not what was sent`);
    say(`ok sent: ${what}`);

    good("prune", volume, "--keep-last", "1");
    check(site.sessions(volume).join() === last, `${what}: ${site.sessions(volume)}, wanted ${last}`);
    good("check", "--read-data");
    good("assemble", volume, "--save-to", "work.img");
    const image = sha256(join(site.drive, "work.img"));
    check(image === sha256(device(volume)), `${what}: the image is not what was sent`);
    say(`ok kept: ${what}`);
  }
}
say("done");
