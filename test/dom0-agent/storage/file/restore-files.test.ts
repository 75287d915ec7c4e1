// Restoring image files: the old one stays until the new one is complete, and is kept then; what a killed run leaves goes.

import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { fileRestore } from "../../../../dom0-agent/storage/file/restore-files.ts";
import type { Kept } from "../../../../dom0-agent/state/kept.ts";
import type { RestoreStorage } from "../../../../dom0-agent/storage/restore-target.ts";
import { fileSystems, mounted } from "./file-systems.ts";
import { tempDir } from "../../../support/temp-dir.ts";

const needs = (): number => 0;

/** As many links as ext4 gives to a file. */
const mostLinks = 65_000;

interface Place extends Disposable {
  readonly root: string;
  readonly restore: RestoreStorage;
}

function place(): Place {
  const directory = tempDir();
  const root = join(directory.path, "images");
  const state = join(directory.path, "state");
  mkdirSync(root);
  mkdirSync(state);
  return { root, restore: fileRestore(root, state), [Symbol.dispose]: () => directory[Symbol.dispose]() };
}

describe("restoring image files", () => {
  test("published: the new one has the name, mode and owner, the old one is kept and can be dropped", async () => {
    using at = place();
    const path = join(at.root, "a.img");
    writeFileSync(path, "old", { mode: 0o640 });
    const kept: Kept[] = [];
    {
      await using target = await at.restore.createTarget({ volume: "a.img", size: 4096, needs });
      expect(target).toMatchObject({ blank: true, size: 4096 });
      writeSync(target.fd, "new", 10);
      expect(readFileSync(path, "utf8")).toBe("old");
      await target.publish((each) => kept.push(each));
    }
    expect(readFileSync(path, "utf8")).toBe(`${"\0".repeat(10)}new${"\0".repeat(4083)}`);
    expect(statSync(path).mode & 0o777).toBe(0o640);
    const [old] = kept;
    expect(readFileSync(join(at.root, old?.name ?? ""), "utf8")).toBe("old");
    if (old === undefined) throw new Error("nothing kept");
    // Another file of that name is left alone.
    renameSync(join(at.root, old.name), join(at.root, "aside"));
    writeFileSync(join(at.root, old.name), "other");
    expect(await at.restore.dropKept(old)).toBe("unrecognised");
    renameSync(join(at.root, "aside"), join(at.root, old.name));
    // And the last of a volume.
    renameSync(path, join(at.root, "aside"));
    expect(await at.restore.dropKept(old)).toBe("last");
    renameSync(join(at.root, "aside"), path);
    // The device's number is another one after a start.
    const [, inode] = old.uuid.split("-");
    expect(await at.restore.dropKept({ ...old, uuid: `4711-${inode}` })).toBe("removed");
    expect(await at.restore.dropKept(old)).toBe("gone");
    expect(readdirSync(at.root)).toEqual(["a.img"]);
  });

  test("not published: nothing is left; what a dead run left is settled", async () => {
    using at = place();
    {
      await using target = await at.restore.createTarget({ volume: "b.img", size: 10, needs });
      expect(target.blank).toBe(true);
    }
    expect(readdirSync(at.root)).toEqual([]);
    const left = await at.restore.createTarget({ volume: "deep/b.img", size: 10, needs });
    // As after a kill: nobody disposes of it.
    expect(readdirSync(join(at.root, "deep"))).toEqual([".b.img.sparsebak-restore"]);
    await at.restore.settle();
    expect(readdirSync(join(at.root, "deep"))).toEqual([]);
    await left[Symbol.asyncDispose]();
  });

  const isRoot = process.geteuid?.() === 0;
  test.skipIf(!isRoot)(
    "without hard links (mounting needs root): where the restored one can't take the name, the old one gets it back",
    async () => {
      // The old image has as many links as it can have, which is refused like any.
      const [ext4] = fileSystems;
      if (ext4 === undefined) throw new Error("no ext4");
      using fs = mounted(ext4);
      const root = join(fs.directory, "images");
      const state = join(fs.directory, "state");
      const links = join(fs.directory, "links");
      for (const each of [root, state, links]) mkdirSync(each);
      const restore = fileRestore(root, state);
      const path = join(root, "a.img");
      const temporary = join(root, ".a.img.sparsebak-restore");
      writeFileSync(path, "old");
      for (let i = 1; i < mostLinks; i++) linkSync(path, join(links, String(i)));
      {
        await using target = await restore.createTarget({ volume: "a.img", size: 10, needs });
        const publishing = target.publish(() => rmSync(temporary));
        await expect(publishing).rejects.toThrow(/ENOENT/);
      }
      expect(readdirSync(root)).toEqual(["a.img"]);
      // As a kill between the two renames leaves it.
      await using target = await restore.createTarget({ volume: "a.img", size: 10, needs });
      await target.publish(() => undefined);
      renameSync(path, temporary);
      await restore.settle();
      expect(readFileSync(path, "utf8")).toBe("old");
      expect(readdirSync(root)).toEqual(["a.img"]);
    },
  );

  test("what a dead run has left and nothing is written down of stays, and is named", async () => {
    using at = place();
    const path = join(at.root, "a.img");
    const temporary = join(at.root, ".a.img.sparsebak-restore");
    const request = { volume: "a.img", size: 10, needs };
    writeFileSync(path, "old");
    writeFileSync(temporary, "half");
    // Twice: the first must not write down that what is there is its own.
    for (let i = 0; i < 2; i++) {
      await at.restore.settle();
      await expect(at.restore.createTarget(request)).rejects.toMatchObject({
        message: `a.img: found ${temporary}, which another restore has left or is making, wanted nothing there`,
        hint: "where none is running, remove it",
      });
    }
    expect(readFileSync(temporary, "utf8")).toBe("half");
    // In place it is in nobody's way.
    await (await at.restore.openInPlace(request))[Symbol.asyncDispose]();
    // Between two renames: what has no name yet, and what has none any more.
    renameSync(path, join(at.root, "a.img.old-0000aaaa"));
    for (const inPlace of [false, true]) {
      await at.restore.settle();
      const opening = inPlace ? at.restore.openInPlace(request) : at.restore.createTarget(request);
      await expect(opening).rejects.toMatchObject({
        message: `a.img: a restore of it was cut short, and which step it was at is not known any more: what it has restored is ${temporary}, the old one ${path}.old-0000aaaa`,
        hint: `give the old one its name back, ${path}; then remove the other, and restore again`,
      });
    }
    expect(readdirSync(at.root)).toEqual([".a.img.sparsebak-restore", "a.img.old-0000aaaa"]);
    renameSync(join(at.root, "a.img.old-0000aaaa"), path);
    // A volume that is not there at all is no more than that.
    await expect(at.restore.openInPlace({ ...request, volume: "b.img" })).rejects.toMatchObject({
      code: "gone",
    });
    rmSync(temporary);
    await (await at.restore.createTarget(request))[Symbol.asyncDispose]();
    expect(readdirSync(at.root)).toEqual(["a.img"]);
  });

  test("another file took the name meanwhile: refused, and it stays", async () => {
    using at = place();
    const path = join(at.root, "a.img");
    writeFileSync(path, "old");
    {
      await using target = await at.restore.createTarget({ volume: "a.img", size: 10, needs });
      renameSync(path, join(at.root, "moved"));
      writeFileSync(path, "another");
      await expect(target.publish(() => undefined)).rejects.toMatchObject({ code: "changed" });
    }
    expect(readFileSync(path, "utf8")).toBe("another");
    expect(readdirSync(at.root).sort()).toEqual(["a.img", "moved"]);
  });

  test("refused: no room, a directory in its place, a link that leads out, a VM's working copy beside it", async () => {
    using at = place();
    const make = async (volume: string, wanted = needs): Promise<unknown> =>
      at.restore.createTarget({ volume, size: 10, needs: wanted });
    await expect(make("a.img", () => 2 ** 60)).rejects.toMatchObject({ code: "full" });
    mkdirSync(join(at.root, "dir.img"));
    await expect(make("dir.img")).rejects.toMatchObject({ code: "unusable" });
    const outside = join(at.root, "..", "outside");
    mkdirSync(outside);
    symlinkSync(outside, join(at.root, "link"));
    await expect(make("link/a.img")).rejects.toThrow(/leads out of/);
    expect(readdirSync(outside)).toEqual([]);
    writeFileSync(join(at.root, "private.img"), "");
    linkSync(join(at.root, "private.img"), join(at.root, "private-dirty.img"));
    await expect(make("private.img")).rejects.toThrow(/in use: its VM runs/);
    await expect(make("../a.img")).rejects.toThrow(/can't be the name/);
    expect(existsSync(join(at.root, "..", "a.img"))).toBe(false);
  });
});
