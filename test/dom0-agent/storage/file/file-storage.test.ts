// Image files on real file systems: the conformance suite on each, and what only files can do.

import { execFileSync } from "node:child_process";
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fileStorage } from "../../../../dom0-agent/storage/file/file-storage.ts";
import type { Extent } from "../../../../dom0-agent/delta/extent.ts";
import type { StorageOptions } from "../../../../dom0-agent/storage/storage.ts";
import { storageCases } from "../../../suites/storage.ts";
import { noise } from "../../../suites/storage/content.ts";
import type { StorageHarness } from "../../../suites/storage/harness.ts";
import { assertCovers, assertRising, differences, rejects, total } from "../../../suites/storage/judging.ts";
import { list, stateOf } from "../../../suites/storage/reading.ts";
import { restoreStorageCases } from "../../../suites/restore-storage.ts";
import { tempDir } from "../../../support/temp-dir.ts";
import { fileSystems, type Mounted, mounted, run } from "./file-systems.ts";

const mib = 1 << 20;
const options: StorageOptions = {
  owner: "01234567",
  stateDirectory: "/nonexistent",
  maxDataPercent: 95,
  maxMetadataPercent: 90,
  signal: new AbortController().signal,
};
const skipped = process.geteuid?.() === 0 ? undefined : "mounting needs root";

/** Images in a new directory below `parent`. */
async function fileHarness(parent: string): Promise<StorageHarness & { readonly root: string }> {
  const root = mkdtempSync(join(parent, "images-"));
  const stateDirectory = mkdtempSync(join(tmpdir(), "sparsebak-state-"));
  const path = (name: string): string => join(root, name);
  const writeAt = (name: string, offset: number, bytes: Uint8Array): void => {
    const fd = openSync(path(name), "r+");
    // No sync: what is read and what is mapped must be right without.
    writeSync(fd, bytes, 0, bytes.length, offset);
    closeSync(fd);
  };
  return {
    root,
    storage: await fileStorage({ localPath: root }, { ...options, stateDirectory }),
    makeVolume: (name, size) => {
      writeFileSync(path(name), "");
      truncateSync(path(name), size);
    },
    writeAt,
    discard: (name, offset, length) => {
      try {
        const range = ["--offset", String(offset), "--length", String(length)];
        execFileSync("fallocate", ["--punch-hole", ...range, path(name)], { stdio: "ignore" });
      } catch {
        // Not every file system can punch holes.
        writeAt(name, offset, Buffer.alloc(length));
      }
    },
    resize: (name, size) => truncateSync(path(name), size),
    remove: (name) => unlinkSync(path(name)),
    [Symbol.asyncDispose]: async () => {
      for (const each of [root, stateDirectory]) rmSync(each, { recursive: true });
    },
  };
}

for (const fileSystem of fileSystems) {
  describe(`image files on ${fileSystem.title}`, () => {
    let place: Mounted | undefined;
    beforeAll(() => {
      if (skipped === undefined) place = mounted(fileSystem);
    });
    afterAll(() => place?.[Symbol.dispose]());
    const make = async (): Promise<Awaited<ReturnType<typeof fileHarness>>> =>
      fileHarness(place?.directory ?? "");

    // Where nothing is told, everything is mapped: the test of holes below says so.
    const needsExtents = "nothing is mapped of a volume that was never written to";
    const cases = [...storageCases(make, { snapshots: false }), ...restoreStorageCases(make)];
    for (const each of cases.filter(({ name }) => fileSystem.tellsExtents || name !== needsExtents)) {
      test(each.name, async (context) => {
        if (skipped !== undefined) context.skip(skipped);
        await each.run();
      });
    }

    test("holes are told from data, and preallocated room may hold some", async (context) => {
      if (skipped !== undefined) context.skip(skipped);
      await using harness = await make();
      const size = 64 * mib + 1234;
      const content = Buffer.alloc(size);
      harness.makeVolume("a.img", size);
      const state = await stateOf(harness.storage, "a.img");
      const mapped = async (): Promise<readonly Extent[]> => list(harness.storage.mappedOf(state));
      const whole = [{ offset: 0, length: size }];
      expect(await mapped()).toEqual(fileSystem.tellsExtents ? [] : whole);
      try {
        run(
          "fallocate",
          "--keep-size",
          "--offset",
          String(8 * mib),
          "--length",
          String(mib),
          join(harness.root, "a.img"),
        );
      } catch {
        // Not every file system can.
      }
      for (const offset of [0, 8 * mib + 5000, 20 * mib + 100, 20 * mib + 90_000, size - 700]) {
        const bytes = noise(700, offset);
        content.set(bytes, offset);
        harness.writeAt("a.img", offset, bytes);
        const extents = await mapped();
        assertRising(extents, size);
        assertCovers(
          extents,
          differences(content, Buffer.alloc(size)).map((each) => clamp(each, size)),
        );
      }
      const extents = await mapped();
      if (fileSystem.tellsExtents) expect(total(extents)).toBeLessThan(4 * mib);
      else expect(extents).toEqual(whole);
    });

    test("a small file counts as data, wherever the file system has put it", async (context) => {
      if (skipped !== undefined) context.skip(skipped);
      await using harness = await make();
      writeFileSync(join(harness.root, "small.img"), "a few bytes");
      const state = await stateOf(harness.storage, "small.img");
      expect(await list(harness.storage.mappedOf(state))).toEqual([{ offset: 0, length: 11 }]);
      await using open = await harness.storage.openVolume(state);
      await open.checkUnchanged();
    });
  });
}

function clamp({ offset, length }: Extent, size: number): Extent {
  return { offset, length: Math.min(length, size - offset) };
}

describe("image files", () => {
  test("a link may lead elsewhere below the local path, but not out of it", async () => {
    using place = tempDir();
    const images = join(place.path, "images");
    mkdirSync(join(images, "pool/vm"), { recursive: true });
    mkdirSync(join(place.path, "images-too"));
    writeFileSync(join(images, "pool/vm/private.img"), "inside");
    writeFileSync(join(place.path, "secret.img"), "outside");
    writeFileSync(join(place.path, "images-too/x.img"), "beside");
    symlinkSync("pool/vm/private.img", join(images, "inside.img"));
    symlinkSync("../secret.img", join(images, "outside.img"));
    symlinkSync("..", join(images, "up"));
    symlinkSync("../images-too/x.img", join(images, "beside.img"));
    const storage = await fileStorage({ localPath: images }, options);
    const survey = await storage.survey(["inside.img", "outside.img", "up/secret.img", "beside.img"]);
    expect([...survey.volumes.keys()]).toEqual(["inside.img"]);
    expect([...survey.unusable.keys()].sort()).toEqual(["beside.img", "outside.img", "up/secret.img"]);
    // A link that is bent after the survey.
    const state = await stateOf(storage, "inside.img");
    unlinkSync(join(images, "inside.img"));
    symlinkSync("../secret.img", join(images, "inside.img"));
    await rejects(storage.openVolume(state), "unusable");
    await rejects(list(storage.mappedOf(state)), "unusable");
  });

  test("a name that can't be one is said to be unusable", async () => {
    using place = tempDir();
    const storage = await fileStorage({ localPath: place.path }, options);
    const names = ["../etc/shadow", "/etc/shadow", "a//b", "", ".", "..", "a\nb"];
    const survey = await storage.survey(names);
    expect(survey.volumes.size).toBe(0);
    expect([...survey.unusable.keys()]).toEqual(names);
  });

  test("what is no regular file is refused, and a pipe holds nobody up", async () => {
    using place = tempDir();
    mkdirSync(join(place.path, "directory.img"));
    run("mkfifo", join(place.path, "pipe.img"));
    const storage = await fileStorage({ localPath: place.path }, options);
    const survey = await storage.survey(["directory.img", "pipe.img"], { all: true });
    expect(survey.volumes.size).toBe(0);
    expect([...survey.unusable.keys()].sort()).toEqual(["directory.img", "pipe.img"]);
  });

  test("--all finds images at any depth, and leaves out what Qubes keeps beside them for itself", async () => {
    using place = tempDir();
    const vm = join(place.path, "appvms/work");
    mkdirSync(vm, { recursive: true });
    mkdirSync(join(place.path, "vm-kernels/6.6"), { recursive: true });
    const names = [
      "private",
      "private-dirty",
      "private-precache",
      "private-import",
      "root-dirty",
      "volatile",
    ];
    for (const name of [...names.map((each) => `${each}.img`), "private.img.1@2026-01-01"]) {
      writeFileSync(join(vm, name), "x");
    }
    writeFileSync(join(place.path, "vm-kernels/6.6/modules.img"), "x");
    writeFileSync(join(place.path, "disk.img"), "x");
    symlinkSync("disk.img", join(place.path, "link.img"));
    const storage = await fileStorage({ localPath: place.path }, options);
    const { volumes } = await storage.survey([], { all: true });
    expect([...volumes.keys()]).toEqual(["appvms/work/private.img", "disk.img"]);
  });

  test("a local path that is no directory is unusable", async () => {
    await rejects(fileStorage({ localPath: "/nonexistent/images" }, options), "unusable");
    await rejects(fileStorage({ localPath: "/proc/version" }, options), "unusable");
  });

  test("any change while it is read is noticed, even one that leaves the same bytes", async () => {
    using place = tempDir();
    const path = join(place.path, "a.img");
    const storage = await fileStorage({ localPath: place.path }, options);
    const changes: Readonly<Record<string, (fd: number) => void>> = {
      "one byte": (fd) => void writeSync(fd, "y", 0),
      "a byte and back": (fd) => {
        writeSync(fd, "y", 0);
        writeSync(fd, "x", 0);
      },
      "its size": (fd) => ftruncateSync(fd, 8192),
      "another file of the same size in its place": () => {
        writeFileSync(`${path}.new`, "x".repeat(4096));
        renameSync(`${path}.new`, path);
      },
      "its removal": () => unlinkSync(path),
    };
    for (const [what, change] of Object.entries(changes)) {
      rmSync(path, { force: true });
      // Written in the instant before it is opened: the next write could leave the same time stamp.
      const writer = openSync(path, "w+");
      writeSync(writer, "x".repeat(4096));
      await using open = await storage.openVolume(await stateOf(storage, "a.img"));
      change(writer);
      await expect(open.checkUnchanged(), what).rejects.toMatchObject({
        code: expect.stringMatching("changed|gone"),
      });
      closeSync(writer);
    }
  });

  test("reading alone changes nothing", async () => {
    using place = tempDir();
    writeFileSync(join(place.path, "a.img"), "x".repeat(4096));
    const storage = await fileStorage({ localPath: place.path }, options);
    const state = await stateOf(storage, "a.img");
    await using open = await storage.openVolume(state);
    await list(storage.mappedOf(state));
    await open.checkUnchanged();
  });

  test("a hard link is the same image by another name", async () => {
    using place = tempDir();
    writeFileSync(join(place.path, "a.img"), "x");
    linkSync(join(place.path, "a.img"), join(place.path, "b.img"));
    const storage = await fileStorage({ localPath: place.path }, options);
    expect((await stateOf(storage, "a.img")).uuid).toBe((await stateOf(storage, "b.img")).uuid);
  });

  test("without filefrag, or with one that talks nonsense, everything is data", async () => {
    using place = tempDir();
    const path = join(place.path, "a.img");
    writeFileSync(path, "");
    truncateSync(path, 4 * mib);
    const tools = join(place.path, "tools");
    mkdirSync(tools);
    const storage = await fileStorage({ localPath: place.path }, options);
    const state = await stateOf(storage, "a.img");
    const before = process.env["SPARSEBAK_TOOL_PATH"];
    try {
      process.env["SPARSEBAK_TOOL_PATH"] = tools;
      expect(await list(storage.mappedOf(state))).toEqual([{ offset: 0, length: 4 * mib }]);
      for (const script of [
        "echo '/proc/self/fd/0: 0 extents found'",
        '/usr/sbin/filefrag "$@"; kill -9 $$',
        "exit 0",
      ]) {
        writeFileSync(join(tools, "filefrag"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
        process.env["SPARSEBAK_TOOL_PATH"] = `${tools}:/bin`;
        expect(await list(storage.mappedOf(state)), script).toEqual([{ offset: 0, length: 4 * mib }]);
      }
    } finally {
      if (before === undefined) delete process.env["SPARSEBAK_TOOL_PATH"];
      else process.env["SPARSEBAK_TOOL_PATH"] = before;
    }
  });
});
