// dom0's own disk is full, or can't be written to: the command says so, nothing that was committed is lost, and once there is room again the same
// command succeeds. With each little bit of room more, until it is enough.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { remove } from "../support/damage.ts";
import { fillDisk } from "../support/fill-disk.ts";
import { type Ended, makeSite, sha256Of, type Site } from "../support/site.ts";
import { type Digests, expectSessions, listed, run, send } from "../support/site-sessions.ts";

const mib = 1024 * 1024;
const size = 4 * mib;
const volume = "work.img";

function must(command: string, ...args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
}

/** Puts dom0's state on a file system of its own, in blocks of 1 KiB. */
function smallState(site: Site): Disposable {
  const disk = join(site.directory, "state-disk");
  const before = join(site.directory, "state-before");
  writeFileSync(disk, "");
  truncateSync(disk, 8 * mib);
  must("mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", disk);
  cpSync(site.state, before, { recursive: true });
  must("mount", "-o", "loop", disk, site.state);
  must("chmod", "700", site.state);
  cpSync(before, site.state, { recursive: true });
  return {
    [Symbol.dispose]: () => {
      rmSync(before, { recursive: true });
      cpSync(site.state, before, { recursive: true });
      must("umount", site.state);
      cpSync(before, site.state, { recursive: true });
    },
  };
}

let seed = 90;
function change(site: Site): void {
  changeImage(site.image(volume), mib / 2, seed++, size);
}

interface Steps {
  readonly prepare: () => Promise<void> | void;
  readonly command: () => Promise<Ended>;
  /** Once the command has succeeded. */
  readonly behind: () => Promise<void>;
}

/** Runs a command with more and more room, until it is enough, and each time again with all of it. */
async function withLittleRoom(site: Site, { prepare, command, behind }: Steps): Promise<void> {
  using _state = smallState(site);
  let failures = 0;
  for (let kib = 0; ; kib = 2 * kib + 1) {
    await prepare();
    const full = fillDisk(site.state, kib);
    const ended = await command();
    full[Symbol.dispose]();
    const shown = `with ${kib} KiB: ${ended.stderr}${ended.stdout}`;
    if (ended.code === 0) {
      await behind();
      break;
    }
    failures++;
    expect(ended.stderr, shown).toMatch(
      /^sparsebak: error: .*write .*dom0.*: no space left on device \(ENOSPC\)$/m,
    );
    expect(ended.stderr, shown).toMatch(/^sparsebak: hint: make room on the file system of .*dom0/m);
    expect(ended, shown).toMatchObject({ code: 1, signal: null });
    const halves = readdirSync(site.state, { recursive: true, encoding: "utf8" });
    expect(
      halves.filter((name) => name.endsWith(".new")),
      shown,
    ).toEqual([]);
    const again = await command();
    expect(again, `again, after ${shown}: ${again.stderr}`).toMatchObject({ code: 0 });
    await behind();
  }
  expect(failures).toBeGreaterThan(1);
}

async function siteOf(options: { readonly sealed?: "later" } = {}): Promise<Site> {
  const settings = ["chunk-size = 64K"];
  const site = await makeSite({
    volumes: [volume],
    driveBytes: 128 * mib,
    local: true,
    settings,
    ...options,
  });
  makeImage(site.image(volume), { size, dataBytes: mib, seed: 89 });
  return site;
}

/** The newest session is what the volume is; whatever was committed, by a command that failed or not, is noted. */
async function note(site: Site, digests: Digests): Promise<void> {
  const now = sha256Of(site.image(volume));
  for (const each of await listed(site)) if (!digests.has(each)) digests.set(each, now);
  expect(await site.assembled(volume)).toBe(now);
}

/** Every session that is listed is what the volume was. */
async function allIsWell(site: Site, digests: Digests): Promise<void> {
  await expectSessions(site, digests, await listed(site));
  await run(site, "check", "--read-data");
}

test.each([["dir"], ["tar"]])("send, form %s", async (form) => {
  await using site = await siteOf();
  const digests: Digests = new Map();
  await send(site, digests);
  await withLittleRoom(site, {
    prepare: () => change(site),
    command: async () => site.sparsebak(["-u", "send", ...(form === "tar" ? ["--tarfile"] : [])]),
    behind: async () => note(site, digests),
  });
  await allIsWell(site, digests);
});

test("init and the first send, sealed", async () => {
  await using site = await siteOf({ sealed: "later" });
  const digests: Digests = new Map();
  await withLittleRoom(site, {
    prepare: () => {
      for (const directory of [site.archive, site.state])
        for (const name of existsSync(directory) ? readdirSync(directory) : [])
          if (name !== "sparsebak.ini") rmSync(join(directory, name), { recursive: true, force: true });
      digests.clear();
    },
    command: async () => {
      const init = await site.sparsebak(["-u", "init", "--passphrase-file", site.passphraseFile]);
      // By a run that was cut short behind it.
      const isThere = /is there already, made by an earlier run|has an archive «default» already/.test(
        init.stderr,
      );
      return init.code === 0 || isThere ? site.sparsebak(["-u", "send"]) : init;
    },
    behind: async () => note(site, digests),
  });
  await run(site, "check", "--read-data");
});

test("prune", async () => {
  await using site = await siteOf();
  const digests: Digests = new Map();
  await withLittleRoom(site, {
    prepare: async () => {
      for (let i = 0; i < 2; i++) {
        change(site);
        await send(site, digests);
      }
    },
    command: async () => site.sparsebak(["-u", "prune", "--keep-last", "1"]),
    behind: async () => {
      await note(site, digests);
      expect(await listed(site)).toHaveLength(1);
    },
  });
  await allIsWell(site, digests);
});

test("check --repair of a list that is lost", async () => {
  await using site = await siteOf();
  const digests: Digests = new Map();
  await withLittleRoom(site, {
    prepare: async () => {
      change(site);
      const [session = ""] = await send(site, digests);
      remove(join(site.archive, volume, session, "list"));
    },
    command: async () => site.sparsebak(["-u", "check", "--repair", "--yes"]),
    behind: async () => note(site, digests),
  });
  await allIsWell(site, digests);
});

test("tag", async () => {
  await using site = await siteOf();
  const digests: Digests = new Map();
  await send(site, digests);
  let tags = 0;
  await withLittleRoom(site, {
    prepare: () => void tags++,
    command: async () => site.sparsebak(["-u", "tag", volume, `tag-${tags % 8}`]),
    behind: async () => note(site, digests),
  });
  await allIsWell(site, digests);
});

test("a disk that the system has made read-only: said, and nothing is lost", async () => {
  await using site = await siteOf();
  const digests: Digests = new Map();
  await send(site, digests);
  change(site);
  using _state = smallState(site);
  must("mount", "-o", "remount,ro", site.state);
  for (const command of [["send"], ["prune", "--keep-last", "1"], ["tag", volume, "x"]]) {
    const ended = await site.sparsebak(["-u", ...command]);
    expect(ended.stderr).toMatch(/^sparsebak: error: .*write .*dom0.*: read-only file system \(EROFS\)$/m);
    expect(ended, ended.stderr).toMatchObject({ code: 1, signal: null });
  }
  must("mount", "-o", "remount,rw", site.state);
  await send(site, digests);
  await note(site, digests);
  await allIsWell(site, digests);
});
