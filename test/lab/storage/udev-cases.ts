// udev and what guests wrote (design section 5, "dom0 never probes guest bytes"): with our rule nothing in our snapshots
// is looked at, and no link in /dev/disk is made for them; without it that happens, so that the proof could fail. Debian
// numbers the device mapper's rules otherwise than Fedora, which is dom0's: ours is tried in both orders.

import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { ruleFile } from "../../../dom0-agent/storage/lvm/probe-rule.ts";
import type { Snapshot } from "../../../dom0-agent/storage/storage.ts";
import type { Case } from "../../suites/case.ts";
import { rejects } from "../../suites/storage/judging.ts";
import { stateOf, take } from "../../suites/storage/reading.ts";
import { devicePath, makeGroup, makePool, makeThin, mapped, removeVolumes, run, vg } from "../guest/lvm.ts";
import { type LvmHarness, lvmHarness } from "../guest/lvm-harness.ts";

const mib = 1 << 20;
const rules = "/run/udev/rules.d";
const pool = "pool-64";
/** Volumes with something that udev knows, and the property by which it tells. */
const known = {
  "fs-data": "ID_FS_TYPE=ext4",
  "pv-data": "ID_FS_TYPE=LVM2_member",
  "gpt-data": "ID_PART_TABLE_TYPE=gpt",
};
const volumes = Object.keys(known);

/** The names that Fedora's lvm2 has for the same three rules. */
const fedora = { "55-dm": "10-dm", "56-lvm": "11-dm-lvm", "60-persistent-storage-dm": "13-dm-disk" };

/** What Qubes installs: its rule in our words, for its own volumes. */
const qubesRule =
  'ACTION!="remove", SUBSYSTEM=="block", ENV{DM_UUID}=="LVM-*", ENV{DM_LV_NAME}=="vm-*", ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1"\n';

function makeVolumes(): void {
  makeGroup();
  makePool(pool, { chunkKiB: 64 });
  for (const name of [...volumes, "vm-work-private"]) makeThin(pool, name, 8 * mib);
  run("mkfs.ext4", "-q", "-L", "GUEST-FS", devicePath("fs-data"));
  run("mkfs.ext4", "-q", "-L", "GUEST-VM", devicePath("vm-work-private"));
  run("pvcreate", "-y", "-q", "--config", "devices { scan_lvs=1 }", devicePath("pv-data"));
  run(
    "sh",
    "-c",
    `echo 'label: gpt\n,,L' | sfdisk -q --no-reread --no-tell-kernel ${devicePath("gpt-data")}`,
  );
  settle();
}

function settle(): void {
  run("udevadm", "settle", "--timeout=60");
}

function reload(): void {
  run("udevadm", "control", "--reload");
}

function installRule(): void {
  copyFileSync(join(process.env["LAB_PROJECT"] ?? "", "qubes-rpc/udev", ruleFile), join(rules, ruleFile));
  reload();
}

function removeRule(): void {
  rmSync(join(rules, ruleFile), { force: true });
  reload();
}

/** The same rules, in the order that they have on Fedora. */
function orderAsFedora(): void {
  for (const [debian, name] of Object.entries(fedora)) {
    copyFileSync(`/usr/lib/udev/rules.d/${debian}.rules`, join(rules, `${name}.rules`));
    writeFileSync(join(rules, `${debian}.rules`), "");
  }
  reload();
}

/** What udev knows of a volume's device, as NAME=VALUE. */
function properties(name: string): readonly string[] {
  return run("udevadm", "info", "--query=property", `--name=${devicePath(name)}`).split("\n");
}

/** Links in /dev/disk that lead to a volume's device. */
function diskLinks(name: string): readonly string[] {
  const device = realpathSync(devicePath(name));
  return readdirSync("/dev/disk").flatMap((kind) =>
    readdirSync(join("/dev/disk", kind))
      .map((link) => join("/dev/disk", kind, link))
      .filter((link) => existsSync(link) && realpathSync(link) === device),
  );
}

/** Nothing was looked at, and the device's own names are there. */
async function assertUntouched(lab: LvmHarness, snapshots: readonly Snapshot[]): Promise<void> {
  settle();
  for (const snapshot of snapshots) {
    const found = properties(snapshot.name);
    const told = found.filter((each) => /^ID_(?:FS|PART)_/.test(each));
    assert.deepEqual(told, [], `udev looked into ${snapshot.name}`);
    assert.deepEqual(diskLinks(snapshot.name), [], snapshot.name);
    const device = realpathSync(devicePath(snapshot.name));
    assert.match(basename(device), /^dm-\d+$/);
    assert.equal(realpathSync(`/dev/mapper/${mapped(snapshot.name)}`), device);
    await using open = await lab.storage.openSnapshot(snapshot);
    assert.equal(open.size, 8 * mib);
  }
}

/** The control: the same snapshots, made by hand. */
function assertLookedAt(): void {
  for (const [name, property] of Object.entries(known)) {
    run("lvcreate", "-q", "-kn", "-ay", "-pr", "-s", `${vg}/${name}`, "-n", `${name}.tock`);
    settle();
    const found = properties(`${name}.tock`);
    assert.ok(found.includes(property), `no ${property} in ${found.join(" ")}`);
    assert.notDeepEqual(diskLinks(`${name}.tock`), []);
  }
  removeVolumes(...volumes.map((name) => `${name}.tock`));
}

async function assertOurs(lab: LvmHarness): Promise<void> {
  const outcomes = await lab.storage.createSnapshots(
    volumes.map((volume) => ({ volume, label: "tock", committed: false })),
  );
  const snapshots = outcomes.map((each) => {
    if (!each.ok) throw each.error;
    return each.snapshot;
  });
  await assertUntouched(lab, snapshots);
  // Every other occasion on which udev looks at a device: a new name, and being asked to.
  const labels = ["tick", "send-0a1B2c3D", "tick"];
  await lab.storage.relabelSnapshots(
    snapshots.map((snapshot, i) => ({ snapshot, label: labels[i] ?? "tick" })),
  );
  for (const action of ["add", "change"]) {
    run("udevadm", "trigger", `--action=${action}`, "--subsystem-match=block");
    settle();
  }
  const { snapshots: now } = await lab.storage.survey([]);
  assert.equal(now.length, volumes.length);
  await assertUntouched(lab, now);
  // The volumes themselves are none of our business.
  assert.ok(properties("fs-data").includes("ID_FS_TYPE=ext4"));
  await lab.storage.dropSnapshots(now);
}

export const udevCases = (): readonly Case[] => {
  const lab = lvmHarness(pool);
  return [
    {
      name: "without our rule no snapshot is made, and the rule is named",
      run: async () => {
        mkdirSync(rules, { recursive: true });
        makeVolumes();
        removeRule();
        const survey = await lab.storage.survey([...volumes, "vm-work-private"]);
        assert.deepEqual([...survey.unusable.keys()], [...volumes, "vm-work-private"]);
        const error = await rejects(take(lab.storage, "fs-data", "tock"), "unusable");
        assert.ok(error.message.includes(ruleFile), error.message);
        writeFileSync(join(rules, ruleFile), "");
        await rejects(take(lab.storage, "fs-data", "tock"), "unusable");
      },
    },
    {
      name: "Debian's order, without our rule: udev looks into snapshots",
      run: () => (removeRule(), assertLookedAt()),
    },
    { name: "Debian's order, with our rule: it does not", run: async () => (installRule(), assertOurs(lab)) },
    {
      name: "Fedora's order, without our rule: udev looks into snapshots",
      run: () => (removeRule(), orderAsFedora(), assertLookedAt()),
    },
    { name: "Fedora's order, with our rule: it does not", run: async () => (installRule(), assertOurs(lab)) },
    {
      name: "Qubes' rule alone: snapshots of its own volumes only, and udev does not look into them",
      run: async () => {
        removeRule();
        writeFileSync(join(rules, "12-qubes-ignore-lvm-devices.rules"), qubesRule);
        reload();
        await rejects(take(lab.storage, "fs-data", "tock"), "unusable");
        await stateOf(lab.storage, "vm-work-private");
        await assertUntouched(lab, [await take(lab.storage, "vm-work-private", "tock")]);
      },
    },
  ];
};
