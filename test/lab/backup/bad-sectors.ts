// In the guest: sectors that can't be read (device-mapper's error target), below the pool and then below the drive. A
// volume that can't be read whole is not sent, the other one is; once it can, its next session is what it is. What can't
// be read on the drive is told by its sessions, costs no other, and a send puts it back.

import { appendFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { check, mib, must, say, sha256 } from "./guest-program.ts";
import { checkNothingLeft, makeGuestSite } from "./guest-site.ts";
import { device, write } from "./guest-volumes.ts";

const [work, mail] = ["vm-work-private", "vm-my-mail-private"] as const;
const sector = 512;

/** A device over a whole disk, of which sectors can be made to fail. */
class Layered {
  readonly path: string;
  readonly #name: string;
  readonly #disk: string;
  readonly #sectors: number;

  constructor(name: string, disk: string) {
    this.path = `/dev/mapper/${name}`;
    this.#name = name;
    this.#disk = disk;
    this.#sectors = Number(must("blockdev", "--getsz", disk));
    must("dmsetup", "create", name, "--table", `0 ${this.#sectors} linear ${disk} 0`);
  }

  /** 4 KiB at a byte offset can't be read nor written from now on. */
  fail(offset: number): void {
    const [from, count] = [Math.floor(offset / sector), 4096 / sector];
    const behind = from + count;
    this.#load(
      `0 ${from} linear ${this.#disk} 0\n${from} ${count} error\n${behind} ${this.#sectors - behind} linear ${this.#disk} ${behind}\n`,
    );
  }

  work(): void {
    this.#load(`0 ${this.#sectors} linear ${this.#disk} 0\n`);
  }

  #load(table: string): void {
    const loaded = spawnSync("dmsetup", ["reload", this.#name], { input: table, encoding: "utf8" });
    check(loaded.status === 0, `dmsetup reload: ${loaded.stderr}`);
    must("dmsetup", "suspend", this.#name);
    must("dmsetup", "resume", this.#name);
    // What was read before is not on the disk.
    writeFileSync("/proc/sys/vm/drop_caches", "3");
  }
}

if (process.env["VM_RUN"] !== "1") throw new Error("only inside the lab's guest");
const disk = process.env["VM_DISK"] ?? "/nonexistent";
const below = new Layered("below-pool", disk);
process.env["VM_DISK"] = below.path;
appendFileSync("/etc/lvm/lvmlocal.conf", `devices { global_filter = [ "r|^${disk}$|" ] }\n`);
const site = makeGuestSite({ volumes: [work, mail], volumeSize: "16M", settings: ["chunk-size = 64K"] });
must("umount", site.drive);
const drive = new Layered("below-drive", "/dev/vdb");
must("mount", drive.path, site.drive);

/** Where the pool's data begins on its disk: extents of 4 MiB behind the first. */
function startOfData(): number {
  const found = must("lvs", "-a", "--noheadings", "-o", "seg_pe_ranges", "qubes_dom0/vm-pool_tdata");
  return mib + Number(/:(\d+)-/.exec(found)?.[1]) * 4 * mib;
}

function send(): void {
  site.good("-u", "send");
  checkNothingLeft(site);
  for (const volume of [work, mail])
    check(site.assembled(volume) === sha256(device(volume)), `${volume} is not what was sent`);
}

// A new pool gives out its chunks one after another.
write(work, 0, 8 * mib);
write(mail, 0, 4 * mib);
send();

write(work, 5 * mib, mib);
write(mail, mib, mib);
const before = site.sessions(work);
below.fail(startOfData() + 12.5 * mib);
const failed = site.sparsebak("-u", "send");
const told = `${failed.code}\n${failed.stdout}\n${failed.stderr}`;
check(
  failed.code === 3 && new RegExp(`${work}: .*EIO`).test(failed.stderr),
  `a volume with a bad sector: ${told}`,
);
check(!new RegExp(`error: ${mail}`).test(failed.stderr), `the other volume: ${told}`);
check(site.sessions(work).join() === before.join(), "a session of a volume that can't be read whole");
check(site.assembled(mail) === sha256(device(mail)), "the other volume is not what was sent");
say("ok source");
below.work();
send();
say("ok source again");

// A chunk of the first session that only it stores, and that the volume still holds.
const [first = ""] = site.sessions(work);
const container = join(site.archive, work, first);
const [group = ""] = readdirSync(container).filter((name) => /^[0-9a-f]{9}$/.test(name));
const [chunk = ""] = readdirSync(join(container, group));
must("sync");
const extents = must("filefrag", "-v", "-b512", join(container, group, chunk));
const physical = Number(/^\s+0:\s+0\.\.\s*\d+:\s+(\d+)\.\./m.exec(extents)?.[1]);
check(physical > 0, `filefrag: ${extents}`);
drive.fail(physical * sector);
const damaged = site.sparsebak("check", "--read-data");
const found = `${damaged.code}\n${damaged.stdout}\n${damaged.stderr}`;
check(
  damaged.code === 5 && damaged.stderr.includes(`${work}: ${first}`),
  `check of a drive with a bad sector: ${found}`,
);
check(site.sparsebak("verify", work, "--session", first).code === 5, "verify of what can't be read");
check(site.sparsebak("verify", mail).code === 0, "verify of the other volume");
check(site.assembled(mail) === sha256(device(mail)), "the other volume can't be built");
say("ok drive");
write(mail, 2 * mib, 4096);
send();
site.good("check", "--read-data");
say("ok drive again");
say("done");
