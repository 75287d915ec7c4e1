// What goes wrong outside: for each, the message, the exit status, and that nothing is lost: afterwards the archive
// holds what it held, and the next send works.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { type Ended, leftovers, makeSite, sha256Of, type Site, type SiteOptions } from "../support/site.ts";

const mib = 1024 * 1024;
const volume = "work.img";

async function siteWithSession(
  options: Partial<SiteOptions> = {},
): Promise<Site & { readonly first: string }> {
  const site = await makeSite({ volumes: [volume], driveBytes: 256 * mib, ...options });
  makeImage(site.image(volume), { size: 32 * mib, dataBytes: 8 * mib, seed: 3 });
  const first = sha256Of(site.image(volume));
  good(await site.sparsebak(["-u", "send"]));
  changeImage(site.image(volume), 2 * mib, 4, 32 * mib);
  return { ...site, first };
}

function good(ended: Ended): void {
  expect(ended, ended.stderr).toMatchObject({ code: 0, signal: null });
}

function must(command: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  expect(status, `${command}: ${stderr}`).toBe(0);
  return stdout;
}

/** Waits, for a while, for something that another process does. */
async function until(isSo: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !isSo(); i++) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(isSo()).toBe(true);
}

/** The archive has its first session, and goes on. */
async function goesOn(site: Site & { readonly first: string }): Promise<void> {
  const [firstSession] = sessionsOf(site);
  expect(await site.assembled(volume, firstSession)).toBe(site.first);
  good(await site.sparsebak(["-u", "send"]));
  expect(await site.assembled(volume)).toBe(sha256Of(site.image(volume)));
  expect(await site.assembled(volume, firstSession)).toBe(site.first);
  expect(leftovers(site.archive)).toEqual([]);
}

function sessionsOf(site: Site): string[] {
  return readdirSync(join(site.archive, volume))
    .filter((name) => name.startsWith("S_"))
    .sort();
}

function refused(ended: Ended, code: number, message: RegExp): void {
  expect(ended.stderr).toMatch(message);
  expect(ended, ended.stderr).toMatchObject({ code, signal: null });
  expect(ended.stderr).toMatch(/^sparsebak: error: /m);
}

describe("the destination", () => {
  test("nothing is mounted: status 4, and nothing lands on the parent's file system", async () => {
    await using site = await siteWithSession();
    site.unmount();
    refused(await site.sparsebak(["-u", "send"]), 4, /not-mounted/);
    expect(readdirSync(site.drive)).toEqual([]);
    site.mount();
    await goesOn(site);
  });

  test("unmounted in mid-send: status 4, not called committed", async () => {
    await using site = await siteWithSession();
    makeImage(site.image(volume), { size: 400 * mib, dataBytes: 120 * mib, seed: 5 });
    const sending = site.sparsebak(["-u", "send"]);
    await until(() => leftovers(site.archive).length > 0);
    must("umount", ["-l", site.drive]);
    refused(await sending, 4, /not-mounted/);
    expect(readdirSync(site.drive)).toEqual([]);
    site.mount();
    await goesOn(site);
  });

  test("read-only: status 4", async () => {
    await using site = await siteWithSession();
    spawnSync("mount", ["-o", "remount,ro", site.drive]);
    refused(await site.sparsebak(["-u", "send"]), 4, /read-only/);
    spawnSync("mount", ["-o", "remount,rw", site.drive]);
    await goesOn(site);
  });

  test("read-only in mid-send, because the file system found itself damaged: status 4", async () => {
    await using site = await siteWithSession();
    makeImage(site.image(volume), { size: 400 * mib, dataBytes: 120 * mib, seed: 5 });
    must("mount", ["-o", "remount,errors=remount-ro", site.drive]);
    const source = must("findmnt", ["-no", "MAJ:MIN", site.drive]).trim();
    const device = basename(realpathSync(`/sys/dev/block/${source}`));
    const sending = site.sparsebak(["-u", "send"]);
    await until(() => leftovers(site.archive).length > 0);
    // The kernel's own way to have ext4 see an error.
    writeFileSync(`/sys/fs/ext4/${device}/trigger_fs_error`, "1");
    refused(await sending, 4, /read-only/);
    const disk = must("losetup", ["-n", "-O", "BACK-FILE", `/dev/${device}`]).trim();
    site.unmount();
    // 1: errors were corrected.
    expect(spawnSync("e2fsck", ["-fy", disk]).status).toBeLessThanOrEqual(1);
    site.mount();
    await goesOn(site);
  });

  test("full: status 4, and what was committed stays", async () => {
    await using site = await siteWithSession({ driveBytes: 64 * mib });
    makeImage(site.image(volume), { size: 200 * mib, dataBytes: 150 * mib, seed: 6 });
    refused(await site.sparsebak(["-u", "send"]), 4, /no-space/);
    makeImage(site.image(volume), { size: 32 * mib, dataBytes: 9 * mib, seed: 3 });
    await goesOn(site);
  });

  test("out of inodes: status 4 with the hint that --tarfile needs fewer, which it does", async () => {
    await using site = await siteWithSession({ mkfs: ["mkfs.ext4", "-q", "-F", "-N", "160"] });
    makeImage(site.image(volume), { size: 64 * mib, dataBytes: 40 * mib, seed: 6 });
    const ended = await site.sparsebak(["-u", "send"]);
    refused(ended, 4, /no-inodes/);
    expect(ended.stderr).toMatch(/hint: .*--tarfile/);
    good(await site.sparsebak(["-u", "send", "--tarfile"]));
    expect(await site.assembled(volume)).toBe(sha256Of(site.image(volume)));
  });

  test("the VM is off and may not be started: status 4; otherwise it is started", async () => {
    await using site = await siteWithSession({ settings: ["start-vm = no"] });
    site.lab.machine.setState("backup", "halted");
    refused(await site.sparsebak(["-u", "send"]), 4, /not running|halted/i);
    writeFileSync(site.ini, readFileSync(site.ini, "utf8").replace("start-vm = no", "start-vm = yes"));
    await goesOn(site);
  });

  test("the service is not installed: status 4", async () => {
    await using site = await siteWithSession();
    rmSync(join(site.lab.machine.root("backup"), "etc/qubes-rpc/sparsebak.Send"));
    refused(await site.sparsebak(["-u", "send"]), 4, /sparsebak\.Send|service/);
    site.killReceiverAt(undefined);
    await goesOn(site);
  });

  test("the policy refuses: status 4", async () => {
    await using site = await siteWithSession();
    // What qrexec ends with, and says, where a policy says no.
    site.lab.service("backup", "sparsebak.Send", "#!/bin/sh\necho Request refused >&2\nexit 126\n");
    refused(await site.sparsebak(["-u", "send"]), 4, /refused|policy/i);
    site.killReceiverAt(undefined);
    await goesOn(site);
  });

  test("a receiver of another version: a clear word, and nothing done", async () => {
    await using site = await siteWithSession();
    const preamble = String.raw`printf '\000\377SPARSEBAK\n\000\143\000\000'`;
    site.lab.service("backup", "sparsebak.Send", `#!/bin/sh\n${preamble}; cat >/dev/null\n`);
    refused(await site.sparsebak(["-u", "send"]), 1, /version 99, wanted 1/);
    site.killReceiverAt(undefined);
    await goesOn(site);
  });

  test("a receiver that says nothing: status 4 after the time that the settings name", async () => {
    await using site = await siteWithSession({ settings: ["stall-seconds = 5"] });
    site.lab.service("backup", "sparsebak.Send", "#!/bin/sh\nexec sleep 60\n");
    refused(await site.sparsebak(["-u", "send"]), 4, /no progress for 5 s/);
    site.killReceiverAt(undefined);
    await goesOn(site);
  });

  test("an older copy of the drive, an empty one, another archive: status 5, and nothing written", async () => {
    await using site = await siteWithSession();
    const copy = join(site.directory, "copy");
    spawnSync("cp", ["-a", site.archive, copy]);
    good(await site.sparsebak(["-u", "send"]));
    const newest = `${site.archive}.newest`;
    const put = (from: string | undefined): void => {
      if (existsSync(site.archive)) rmSync(site.archive, { recursive: true });
      if (from !== undefined) spawnSync("cp", ["-a", from, site.archive]);
    };
    renameSync(site.archive, newest);
    put(copy);
    changeImage(site.image(volume), mib, 9, 32 * mib);
    const heads = readdirSync(join(site.archive, "heads"));
    refused(await site.sparsebak(["-u", "send"]), 5, /older state/);
    expect(readdirSync(join(site.archive, "heads"))).toEqual(heads);
    put(undefined);
    refused(await site.sparsebak(["-u", "send"]), 5, /no archive/);
    expect(existsSync(join(site.archive, "heads", "1"))).toBe(false);
    put(undefined);
    renameSync(newest, site.archive);
    await goesOn(site);
  });
});

describe("this machine", () => {
  test("two runs at once: the second has status 6", async () => {
    await using site = await siteWithSession();
    makeImage(site.image(volume), { size: 400 * mib, dataBytes: 150 * mib, seed: 5 });
    let pid = 0;
    const first = site.sparsebak(["-u", "send"], { onStart: (id) => (pid = id) });
    await until(() => leftovers(site.archive).length > 0);
    // It stands still until the other one has come and gone.
    process.kill(pid, "SIGSTOP");
    const second = await site.sparsebak(["-u", "send"]);
    process.kill(pid, "SIGCONT");
    refused(second, 6, /locked by another run/);
    good(await first);
    expect(await site.assembled(volume)).toBe(sha256Of(site.image(volume)));
  });

  test("another agent holds the archive: status 6", async () => {
    await using site = await siteWithSession();
    const lock = join(site.archive, "lock");
    expect(existsSync(lock)).toBe(true);
    const holder = spawn("flock", [lock, "sleep", "30"]);
    await new Promise((resolve) => setTimeout(resolve, 300));
    try {
      refused(await site.sparsebak(["-u", "send"]), 6, /busy/);
    } finally {
      spawnSync("pkill", ["-P", String(holder.pid)]);
      holder.kill();
    }
    await goesOn(site);
  });

  test("a command that reads leaves another one alone that is just at its last step", async () => {
    await using site = await siteWithSession({ local: true });
    const own = join(site.state, "archives", "default");
    // A run that has written down what it is about to commit; it is not seen that it is dead while its lock is held.
    const counted = { from: "renameSync .*/intent", until: "^never$" };
    const killed = await site.sparsebak(["-u", "send"], { killAt: 2, counted });
    expect(killed.signal).toBe("SIGKILL");
    expect(existsSync(join(own, "intent"))).toBe(true);
    const before = readFileSync(join(own, "archive"));
    const holder = spawn("flock", [join(own, "lock"), "sh", "-c", "echo locked; cat"]);
    await once(holder.stdout, "data");
    const listed = await site.sparsebak(["list"]);
    good(listed);
    expect(listed.stderr).toBe("");
    expect(existsSync(join(own, "intent"))).toBe(true);
    expect(readFileSync(join(own, "archive")).equals(before)).toBe(true);
    const ended = once(holder, "exit");
    holder.stdin.end();
    await ended;
    await goesOn(site);
    expect(existsSync(join(own, "intent"))).toBe(false);
  });

  test("^C: status 130, and the next run goes on", async () => {
    await using site = await siteWithSession();
    makeImage(site.image(volume), { size: 300 * mib, dataBytes: 100 * mib, seed: 5 });
    const stop = new AbortController();
    const sending = site.sparsebak(["-u", "send"], { signal: stop.signal });
    for (let i = 0; i < 400 && leftovers(site.archive).length === 0; i++)
      await new Promise((resolve) => setTimeout(resolve, 25));
    stop.abort();
    refused(await sending, 130, /SIGINT/);
    await goesOn(site);
  });

  test("one volume is gone: status 3, the other is sent", async () => {
    await using site = await siteWithSession();
    const ended = await site.sparsebak(["-u", "send", volume, "gone.img"]);
    refused(ended, 3, /gone\.img: there is no such/);
    expect(ended.stdout).toMatch(/work\.img: compared/);
    await goesOn(site);
  });

  test("settings: an unknown key, no volumes, a bad file: status 2", async () => {
    await using site = await siteWithSession();
    const ini = readFileSync(site.ini, "utf8");
    writeFileSync(site.ini, ini.replace("destdir", "destdri"));
    refused(await site.sparsebak(["-u", "send"]), 2, /unknown key «destdri»[^]*hint: .*«destdir»/);
    writeFileSync(site.ini, ini.replace("= enable", "= disable"));
    refused(await site.sparsebak(["-u", "send"]), 2, /no volumes are enabled/);
    rmSync(site.ini);
    refused(await site.sparsebak(["-u", "send"]), 2, /sparsebak\.ini/);
    writeFileSync(site.ini, ini);
    expect((await site.sparsebak(["-u", "sned"])).code).toBe(2);
    await goesOn(site);
  });

  test("unattended, and no word of encryption in the settings: no archive is made unsealed by accident", async () => {
    await using site = await makeSite({ volumes: [volume] });
    makeImage(site.image(volume), { size: 4 * mib, dataBytes: mib, seed: 1 });
    writeFileSync(site.ini, readFileSync(site.ini, "utf8").replace("encryption = off\n", ""));
    refused(await site.sparsebak(["-u", "send"]), 2, /to be sealed, and needs a passphrase/);
    writeFileSync(site.ini, readFileSync(site.ini, "utf8").replace("destdir", "encryption = on\ndestdir"));
    refused(await site.sparsebak(["-u", "send"]), 2, /to be sealed, and needs a passphrase/);
    expect(existsSync(join(site.archive, "heads", "1"))).toBe(false);
  });

  test.each(["archive", "stamp", "ids", "groups"])(
    "a damaged state file (%s) is noticed and said",
    async (name) => {
      await using site = await siteWithSession();
      const found = spawnSync("find", [join(site.state, "archives"), "-name", name], {
        encoding: "utf8",
      }).stdout.trim();
      const bytes = readFileSync(found);
      bytes[8] = (bytes[8] ?? 0) ^ 0x20;
      writeFileSync(found, bytes);
      const ended = await site.sparsebak(["-u", "send"]);
      good(ended);
      expect(ended.stderr).toMatch(/made again from the archive/);
      await goesOn(site);
    },
  );

  test("a clock that was set back: the session gets the next free name, and order is kept", async () => {
    await using site = await siteWithSession();
    const [first = ""] = sessionsOf(site);
    // The next second is taken already: by a session whose time lies ahead of the clock.
    good(await site.sparsebak(["-u", "send"]));
    changeImage(site.image(volume), mib, 11, 32 * mib);
    good(await site.sparsebak(["-u", "send", "--tag", "a"]));
    good(await site.sparsebak(["-u", "send", "--tag", "b"]));
    const listed = await site.sparsebak(["--json", "list", volume]);
    const sessions = listed.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((line) => line["type"] === "session");
    expect(sessions.map((each) => each["name"])[0]).toBe(first);
    expect(new Set(sessions.map((each) => each["name"])).size).toBe(4);
    expect(await site.assembled(volume)).toBe(sha256Of(site.image(volume)));
  });
});

describe("the archive", () => {
  test("a manifest that dom0 needs again is corrupt: status 5, nothing sent on top of it", async () => {
    await using site = await siteWithSession();
    const found = spawnSync("find", [site.archive, "-name", "manifest.*"], {
      encoding: "utf8",
    }).stdout.trim();
    const bytes = readFileSync(found);
    bytes[200] = (bytes[200] ?? 0) ^ 1;
    writeFileSync(found, bytes);
    for (const name of ["stamp", "ids", "groups"]) {
      const own = spawnSync("find", [join(site.state, "archives"), "-name", name], {
        encoding: "utf8",
      }).stdout.trim();
      rmSync(own);
    }
    refused(await site.sparsebak(["-u", "send"]), 5, /manifest/);
    bytes[200] = (bytes[200] ?? 0) ^ 1;
    writeFileSync(found, bytes);
    await goesOn(site);
  });

  test("a missing chunk, a truncated tar: spbk-assemble has status 5 and leaves no image", async () => {
    await using site = await siteWithSession();
    good(await site.sparsebak(["-u", "send", "--tarfile"]));
    const output = join(site.directory, "out.img");
    const assemble = async (): Promise<Ended> =>
      site.spbkAssemble([join(site.archive, volume), "-o", output, "-q"]);
    const [tar = ""] = spawnSync("find", [site.archive, "-name", "S_*.tar"], {
      encoding: "utf8",
    }).stdout.split("\n");
    const whole = readFileSync(tar);
    truncateSync(tar, statSync(tar).size - 5000);
    expect(await assemble()).toMatchObject({ code: 5 });
    writeFileSync(tar, whole);
    good(await assemble());
    rmSync(output);
    // A chunk of the first session that the second one does not replace.
    const chunks = spawnSync("find", [site.archive, "-name", "x0*"], { encoding: "utf8" })
      .stdout.trim()
      .split("\n");
    for (const chunk of chunks) renameSync(chunk, `${chunk}.away`);
    const ended = await assemble();
    expect(ended).toMatchObject({ code: 5 });
    expect(ended.stderr).toMatch(/missing|no such/i);
    expect(existsSync(output)).toBe(false);
    for (const chunk of chunks) renameSync(`${chunk}.away`, chunk);
    good(await assemble());
  });
});

test("a manifest that is lost stops its volume's send, and not those of the volumes behind it", async () => {
  const [a, b] = ["a.img", "b.img"] as const;
  await using site = await makeSite({ volumes: [a, b], driveBytes: 64 * mib, local: true });
  for (const each of [a, b]) makeImage(site.image(each), { size: 4 * mib, dataBytes: mib, seed: 7 });
  good(await site.sparsebak(["-u", "send"]));
  for (const each of [a, b]) changeImage(site.image(each), mib, 8, 4 * mib);
  const session = spawnSync("find", [join(site.archive, a), "-name", "manifest*"], { encoding: "utf8" });
  truncateSync(session.stdout.trim(), 100);
  rmSync(join(site.state, "archives", "default", "indexes"), { recursive: true });
  refused(await site.sparsebak(["-u", "send"]), 5, /manifest\.\d+ of S_.*not the one that the index names/);
  expect(await site.assembled(b)).toBe(sha256Of(site.image(b)));
});
