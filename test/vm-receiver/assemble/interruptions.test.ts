// Killed, stopped, out of space, reader gone: the image is there whole or not at all, and what could be cleaned up is.

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { createTestArchive } from "../../support/archive-writer.ts";
import { chunk, commandLine, ended, imageOf, noise, run, scratch, start } from "./support.ts";

/** A volume that takes its time: half a terabyte of zeros to walk through, behind a little data. */
function slowVolume(): string {
  const archive = createTestArchive(join(scratch(), "archive"), { chunkSize: 4 * 1024 * 1024 });
  const data = noise(64);
  archive.send({ slow: { size: 2 ** 39, read: (address) => (address === 0 ? data : undefined) } });
  return archive.volumePath("slow");
}

/** Waits until the image's file is there under its first name. */
async function partFile(directory: string): Promise<string> {
  for (;;) {
    const found = readdirSync(directory).find((name) => name.startsWith(".image.part-"));
    if (found !== undefined) return found;
    await setTimeout(20);
  }
}

test("kill -9 in the middle: no file under the image's name", async () => {
  const directory = scratch();
  const child = start([slowVolume(), "-o", join(directory, "image")]);
  const part = await partFile(directory);
  child.kill("SIGKILL");
  expect(await ended(child)).toMatchObject({ signal: "SIGKILL" });
  expect(readdirSync(directory)).toEqual([part]);
});

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const)(
  "%s: exit status %i, and nothing is left, not even with --force over a file",
  async (signal, status) => {
    const directory = scratch();
    writeFileSync(join(directory, "image"), "precious");
    const child = start([slowVolume(), "-o", join(directory, "image"), "--force"]);
    const done = ended(child);
    await partFile(directory);
    child.kill(signal);
    const ran = await done;
    expect(ran.status).toBe(status);
    expect(ran.stderr).toContain(`stopped by ${signal}`);
    expect(readdirSync(directory)).toEqual(["image"]);
    expect(readFileSync(join(directory, "image"), "utf8")).toBe("precious");
  },
);

test("no hard links, and the file does not get its name: said, and nothing is left under it", async () => {
  const archive = createTestArchive(join(scratch(), "archive"));
  archive.send({ vm: noise(4) });
  const directory = scratch();
  // What FAT answers to the one, and a drive that goes bad just then to the other.
  const refusing = `import fs from "node:fs"; import { syncBuiltinESMExports } from "node:module";
    const refuse = (code) => () => { throw Object.assign(new Error(code), { code }); };
    fs.linkSync = refuse("EPERM"); fs.renameSync = refuse("EIO"); syncBuiltinESMExports();`;
  const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(refusing)}` };
  const ran = await run([archive.volumePath("vm"), "-o", join(directory, "image")], { env });
  expect(ran.stderr).toContain("image can't be written: EIO");
  expect(ran.status).toBe(1);
  expect(readdirSync(directory)).toEqual([]);
});

test("a signal while the reader of the pipe does not read", async () => {
  const child = start([slowVolume(), "-o", "-"]);
  child.stdout!.pause();
  await setTimeout(1000); // long enough to fill the pipe; if it was not, the test is only easier
  const done = new Promise<number | null>((resolve) => child.on("exit", resolve));
  child.kill("SIGTERM");
  expect(await done).toBe(143);
});

test("the reader of the pipe goes away: said, and the end", () => {
  const shell = `{ ${commandLine([slowVolume(), "-o", "-"])}; echo "status $?" >&2; } | head -c 1000 >/dev/null`;
  const ran = spawnSync("sh", ["-c", shell]);
  expect(ran.stderr.toString()).toContain("whoever reads the image has closed the pipe");
  expect(ran.stderr.toString()).toContain("status 1");
});

const isRoot = process.getuid?.() === 0;

/** Mounts a fresh file system of `bytes` for the test. */
function mounted(bytes: number, ...mkfs: readonly [string, ...string[]]): string {
  const directory = scratch();
  const file = join(directory, "disk");
  const point = join(directory, "mnt");
  writeFileSync(file, "");
  truncateSync(file, bytes);
  mkdirSync(point);
  const [program, ...args] = mkfs;
  execFileSync(program, [...args, file], { stdio: "ignore" });
  execFileSync("mount", ["-o", "loop", file, point]); // the loop device goes with the mount
  onTestFinished(() => void execFileSync("umount", [point]));
  return point;
}

describe.skipIf(!isRoot)("on file systems of their own (mounting them needs root)", () => {
  test("a full disk: said, and nothing is left", async () => {
    const archive = createTestArchive(join(scratch(), "archive"));
    archive.send({ vm: noise(512) });
    const point = mounted(24 * 1024 * 1024, "mkfs.ext4", "-q");
    const ran = await run([archive.volumePath("vm"), "-o", join(point, "image")]);
    expect(ran.stderr).toContain("no space left for the image (ENOSPC)");
    expect(ran.stderr).toContain("spbk-assemble: hint: make room");
    expect(ran.status).toBe(1);
    expect(readdirSync(point)).toEqual(["lost+found"]);
  });

  test("a full disk as standard output", () => {
    const archive = createTestArchive(join(scratch(), "archive"));
    archive.send({ vm: noise(512) });
    const point = mounted(24 * 1024 * 1024, "mkfs.ext4", "-q");
    const shell = `${commandLine([archive.volumePath("vm"), "-o", "-"])} > '${join(point, "image")}'`;
    const ran = spawnSync("sh", ["-c", shell]);
    expect(ran.stderr.toString()).toContain("no space left for the image");
    expect(ran.status).toBe(1);
  });

  test("a file system whose files can't be that large", async () => {
    const archive = createTestArchive(join(scratch(), "archive"), { chunkSize: 4 * 1024 * 1024 });
    archive.send({ large: { size: 20 * 2 ** 30, read: () => undefined } });
    const point = mounted(16 * 1024 * 1024, "mkfs.ext2", "-q", "-b", "1024");
    const ran = await run([archive.volumePath("large"), "-o", join(point, "image")]);
    expect(ran.stderr).toContain("file system can't hold a file that large, wanted 20.0 GiB");
    expect(ran.status).toBe(1);
    expect(readdirSync(point)).toEqual(["lost+found"]);
  });

  const hasFat = readFileSync("/proc/filesystems", "utf8").includes("\tvfat\n");
  test.skipIf(!hasFat)("FAT, which has no hard links (the kernel here must know vfat)", async () => {
    const archive = createTestArchive(join(scratch(), "archive"));
    const image = imageOf(30 * chunk + 3, { 2: noise(5), 20: noise(1) });
    archive.send({ vm: image });
    const point = mounted(64 * 1024 * 1024, "mkfs.vfat", "-F", "32");
    expect((await run([archive.volumePath("vm"), "-o", join(point, "image")])).status).toBe(0);
    expect(readFileSync(join(point, "image")).equals(image)).toBe(true);
    expect((await run([archive.volumePath("vm"), "-o", join(point, "image")])).stderr).toContain(
      "exists already",
    );
    expect(readdirSync(point)).toEqual(["image"]);
  });

  test("a block device is left alone", async () => {
    const archive = createTestArchive(join(scratch(), "archive"));
    archive.send({ vm: noise(4) });
    const file = join(scratch(), "disk");
    writeFileSync(file, Buffer.alloc(1024 * 1024, 1));
    const device = execFileSync("losetup", ["--show", "-f", file]).toString().trim();
    onTestFinished(() => void execFileSync("losetup", ["-d", device]));
    const ran = await run([archive.volumePath("vm"), "-o", device, "--force"]);
    expect(ran.stderr).toContain("output is a block device");
    expect(ran.status).toBe(1);
    expect(readFileSync(file).every((byte) => byte === 1)).toBe(true);
    expect(existsSync(device)).toBe(true);
  });
});
