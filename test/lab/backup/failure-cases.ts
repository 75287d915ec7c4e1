// The cases of failures.ts, by their names, on both sides: nothing of a guest is touched until a case runs. They work on
// one installation, one after another.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, constants, fsyncSync, openSync, readSync, writeSync } from "node:fs";
import type { Case } from "../../suites/case.ts";
import { fillDisk } from "../../support/fill-disk.ts";
import { lineOf, linesOf, mib, must, type Ran, sha256 } from "./guest-program.ts";
import { checkNothingLeft, type GuestSite, makeGuestSite, writeSettings } from "./guest-site.ts";
import { device, exists, makeVolume, write } from "./guest-volumes.ts";

const volume = "vm-work-private";
const other = "vm-mail-private";
const volumes = [volume, other];
const poolMiB = 96;
const pool = "qubes_dom0/vm-pool";
const poolDevice = "qubes_dom0-vm--pool";

let made: GuestSite | undefined;
/** What each session of `volume` has to be, by name. */
const wanted = new Map<string, string>();
let turn = 0;

function site(): GuestSite {
  if (made !== undefined) return made;
  made = makeGuestSite({ volumes, volumeSize: "16M", poolSize: `${poolMiB}M` });
  write(volume, 0, 4 * mib);
  write(other, 0, mib);
  send();
  return made;
}

/** Sends, with that exit status, and keeps what the new session of `volume` has to be. Gives what was said. */
function send(code = 0): Ran {
  const digest = sha256(device(volume));
  const ended = site().sparsebak("-u", "--json", "send");
  assert.equal(ended.code, code, ended.stderr);
  const session = String(lineOf(ended, volume)["session"]);
  assert.ok(!wanted.has(session), `${session}: found twice`);
  wanted.set(session, digest);
  checkNothingLeft(site());
  assert.equal(site().assembled(volume, session), digest, `${session} is not what the volume is`);
  return ended;
}

/** Session names of `volume` in their order. */
function listed(): readonly string[] {
  return linesOf(site().good("--json", "list", volume))
    .filter((line) => line["type"] === "session")
    .map((line) => String(line["name"]));
}

function change(): void {
  turn++;
  write(volume, 8 * mib + turn * 131_072, 4096);
}

function refused(ended: Ran, code: number, message: RegExp): void {
  assert.match(ended.stderr, message);
  assert.equal(ended.code, code, ended.stderr);
  assert.match(ended.stderr, /^sparsebak: error: /m);
}

/** The next send works. That every session stays what it was is looked at in the last case. */
function goesOn(): void {
  change();
  send();
}

/** Fills the pool up to so many of its MiB with a volume of somebody else's; gives what removes it again. */
function fillPool(upToMiB: number): () => void {
  const used = (Number(must("lvs", "--noheadings", "-o", "data_percent", pool).trim()) / 100) * poolMiB;
  makeVolume("vm-filler-private", `${poolMiB}M`);
  for (let at = 0; at < Math.floor(upToMiB - used); at += 4) write("vm-filler-private", at * mib, 4 * mib);
  return () => void must("lvremove", "-f", "qubes_dom0/vm-filler-private");
}

function metadataPercent(): number {
  return Number(must("lvs", "--noheadings", "-o", "metadata_percent", pool).trim());
}

/** A volume of so many pool chunks has a mapping of some 30 leaves: one holds at least 126 chunks. */
const mappedChunks = 4096;

/** Writes a block in each `step`-th chunk of a volume. */
function scatter(name: string, step: number): void {
  const fd = openSync(device(name), "r+");
  for (let i = 0; i < mappedChunks; i += step) writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, i * 65_536);
  fsyncSync(fd);
  closeSync(fd);
}

/** A volume of somebody else's that is all mapped, and snapshots of it, which share its mapping. Gives their names. */
function makeMapped(snapshots: number): readonly string[] {
  makeVolume("vm-mapped-private", `${mappedChunks / 16}M`);
  scatter("vm-mapped-private", 1);
  const names = Array.from({ length: snapshots }, (_, i) => `vm-other-${i}-private`);
  const lines = names.map((name) => `lvcreate -kn -ay -s qubes_dom0/vm-mapped-private -n ${name}`);
  must("sh", "-c", `printf '${lines.join("\\n")}\\n' | lvm`);
  return names;
}

/** Writes into each leaf of one snapshot after another, which makes it a leaf of its own, until so much metadata is in
 *  use. Gives the snapshots that are as they were. */
function fillMetadata(snapshots: readonly string[], percent: number): readonly string[] {
  for (const [i, name] of snapshots.entries()) {
    if (metadataPercent() >= percent) return snapshots.slice(i);
    scatter(name, 126);
  }
  return assert.fail(`metadata: found ${metadataPercent()} % in use, wanted ${percent} %`);
}

function snapshotUuids(): string {
  return must("lvs", "--noheadings", "-o", "lv_name,lv_uuid", "@sparsebak");
}

function heldRoot(): string {
  return must("dmsetup", "status", `${poolDevice}-tpool`).trim().split(/\s+/)[6] ?? "";
}

/** Changes every chunk of `volume` that is mapped, in the pool's data device below: no thin volume sees a write. */
function changeBehindTheStorage(): void {
  const first = readBlock(device(volume), 0).subarray(0, 4);
  assert.notEqual(first.readUInt32LE(0), 0);
  const path = `/dev/mapper/${poolDevice}_tdata`;
  const fd = openSync(path, constants.O_RDWR | constants.O_SYNC);
  try {
    for (let at = 0; at < 4 * mib; at += 65_536) writeSync(fd, Buffer.alloc(512, 0xaa), 0, 512, at + 4096);
  } finally {
    closeSync(fd);
  }
  // Everybody's page cache may hold what was there.
  must("sh", "-c", "echo 3 >/proc/sys/vm/drop_caches");
}

function readBlock(path: string, at: number): Buffer {
  const fd = openSync(path, "r");
  const block = Buffer.alloc(4096);
  readSync(fd, block, 0, block.length, at);
  closeSync(fd);
  return block;
}

function setClock(seconds: number): void {
  must("date", "-s", `@${Math.floor(seconds)}`);
}

export function failureCases(): readonly Case[] {
  return [
    {
      name: "a pool nearly full of data: status 1, no snapshot is made, and what to do",
      run: () => {
        const before = site();
        change();
        const empty = fillPool(poolMiB * 0.97);
        const snapshots = must("lvs", "--noheadings", "-o", "lv_name", "@sparsebak");
        for (const command of [["monitor"], ["-u", "send"]]) {
          const ended = before.sparsebak(...command);
          refused(ended, 1, /too full: data 9\d(\.\d+)? % \(limit 95 %\)/);
          assert.match(ended.stderr, /hint: extend the pool/);
        }
        assert.equal(must("lvs", "--noheadings", "-o", "lv_name", "@sparsebak"), snapshots);
        assert.match(before.good("status").stdout, /pool: data 9\d/);
        writeSettings({ volumes, settings: ["max-data-percent = 99"] });
        send();
        writeSettings({ volumes });
        empty();
      },
    },
    {
      name: "a pool with more metadata in use than the settings allow: status 1",
      run: () => {
        writeSettings({ volumes, settings: ["max-metadata-percent = 1"] });
        refused(site().sparsebak("monitor"), 1, /too full: .*metadata [\d.]+ % \(limit 1 %\)/);
        refused(site().sparsebak("-u", "send"), 1, /too full: .*metadata [\d.]+ % \(limit 1 %\)/);
        writeSettings({ volumes });
        goesOn();
      },
    },
    {
      name: "a pool nearly full of metadata: status 1, nothing is lost, and with other snapshots removed it goes on",
      run: () => {
        site();
        change();
        // Data is not to be what runs out. The metadata has the smallest size that LVM gives it here, and does not grow.
        must("lvextend", "-L", "512M", pool);
        const others = makeMapped(60);
        const [ours, sessions] = [snapshotUuids(), listed()];
        // LVM itself makes no more snapshots in a pool as small as this when three quarters are in use.
        const left = fillMetadata(others, 76);
        for (const command of [["monitor"], ["-u", "send"]]) {
          refused(site().sparsebak(...command), 1, /free space in thin pool \S+ reached threshold/);
          checkNothingLeft(site());
        }
        fillMetadata(left, 91);
        for (const command of [["monitor"], ["-u", "send"]]) {
          const ended = site().sparsebak(...command);
          refused(ended, 1, /too full: .*metadata 9\d(\.\d+)? % \(limit 90 %\)/);
          assert.match(ended.stderr, /hint: extend the pool .*--poolmetadatasize/);
          checkNothingLeft(site());
        }
        assert.deepEqual(snapshotUuids(), ours);
        assert.deepEqual(listed(), sessions);
        assert.match(site().good("status").stdout, /metadata 9\d/);
        must("lvremove", "-f", ...["vm-mapped-private", ...others].map((name) => `qubes_dom0/${name}`));
        const sent = send();
        assert.match(sent.stdout, new RegExp(`"volume":"${volume}".*"kind":"incremental"`));
      },
    },
    {
      name: "a metadata snapshot held by another program: status 1, and it is left alone",
      run: () => {
        site();
        change();
        must("dmsetup", "message", `${poolDevice}-tpool`, "0", "reserve_metadata_snap");
        const root = heldRoot();
        for (const command of [["monitor"], ["-u", "send"]]) {
          const ended = site().sparsebak(...command);
          refused(ended, 1, /held by another program \(metadata snapshot in block \d+\)/);
          assert.match(ended.stderr, /hint: .*release_metadata_snap/);
          assert.equal(heldRoot(), root);
        }
        must("dmsetup", "message", `${poolDevice}-tpool`, "0", "release_metadata_snap");
        goesOn();
      },
    },
    {
      name: "dom0's own disk is full: status 1 or 3, nothing is lost, and with room again it goes on",
      run: () => {
        site();
        let failures = 0;
        for (const kib of [0, 1, 4]) {
          change();
          const digest = sha256(device(volume));
          const full = fillDisk(site().state, kib);
          const ended = [["monitor"], ["-u", "send"]].map((command) => site().sparsebak(...command));
          full[Symbol.dispose]();
          for (const each of ended) {
            if (each.code === 0) continue;
            failures++;
            // 3 where it was enough for one of the volumes.
            refused(each, each.code === 3 ? 3 : 1, /no space left on device/i);
            assert.match(each.stderr, /hint: make room on the file system of \/sparsebak/);
          }
          // A send may have failed behind its last step.
          for (const session of listed()) if (!wanted.has(session)) wanted.set(session, digest);
          goesOn();
        }
        assert.ok(failures > 2, `${failures} failures`);
      },
    },
    {
      name: "one volume is gone: status 3 and the other is sent; it comes back under its name: compared whole",
      run: () => {
        change();
        must("lvremove", "-f", `qubes_dom0/${other}`);
        const ended = send(3);
        assert.match(ended.stdout, new RegExp(`${other}: there is no such volume`));
        assert.match(ended.stdout, new RegExp(`"volume":"${volume}".*"kind":"incremental"`));
        assert.match(site().good("status").stdout, new RegExp(`${other} .*gone from this machine`));
        refused(site().sparsebak("monitor"), 3, new RegExp(`${other}: there is no such volume`));
        // Its snapshot stays for the time that the settings name.
        assert.ok(exists(`${other}.tick`));
        writeSettings({ volumes, settings: ["keep-gone-days = 0"] });
        assert.match(
          site().sparsebak("monitor").stderr,
          new RegExp(`${other}: gone from this machine for more than 0 days; its snapshot is dropped`),
        );
        assert.ok(!exists(`${other}.tick`));
        writeSettings({ volumes });
        makeVolume(other, "20M");
        write(other, 3 * mib, mib);
        goesOn();
        assert.equal(site().assembled(other), sha256(device(other)));
        assert.ok(exists(`${other}.tick`));
      },
    },
    {
      name: "data changed that the storage calls unchanged: status 5, all is compared, and the session is right",
      run: () => {
        site();
        changeBehindTheStorage();
        const ended = send(5);
        assert.match(
          ended.stdout,
          /data changed that the storage calls unchanged; the whole volume is compared/,
        );
        assert.match(ended.stdout, new RegExp(`"volume":"${volume}".*"kind":"compared"`));
        goesOn();
      },
    },
    {
      name: "the clock is set back, once into a time that has sessions, and jumps while a send runs: order is kept",
      run: () => {
        const [first = ""] = listed();
        const now = Date.now() / 1000;
        const [, year, month, day, hour, minute, second] =
          /^S_(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)$/.exec(first) ?? [];
        setClock(Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`) / 1000 - 1);
        goesOn();
        setClock(now - 365 * 86_400);
        // Back and forth by an hour all the time.
        const jumps =
          'while :; do date -s "+1 hour"; sleep 0.2; date -s "-1 hour"; sleep 0.2; done >/dev/null 2>&1';
        const jumping = spawn("sh", ["-c", jumps], { stdio: "ignore", detached: true });
        try {
          goesOn();
        } finally {
          process.kill(-(jumping.pid ?? 0), "SIGKILL");
        }
        const older = [...wanted.keys()].at(-1) ?? "";
        assert.ok(older < first, `${older} is named after the clock as it is`);
        setClock(now + 3600);
        goesOn();
        assert.deepEqual(listed(), [...wanted.keys()]);
        assert.match(site().good("status").stdout, new RegExp(`${volume} .*ago`));
      },
    },
    {
      name: "in the end every session of all this is what the volume was",
      run: () => {
        assert.ok(wanted.size > 8, `${wanted.size} sessions`);
        for (const [session, digest] of wanted)
          assert.equal(site().assembled(volume, session), digest, `session ${session}`);
      },
    },
  ];
}
