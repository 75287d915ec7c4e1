// dom0's own state, one file at a time, lost or damaged: said, made again from the archive, and never a wrong increment
// (docs/security.md, S9). The key alone can't be made again from there: the recovery form brings it back.

import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { makeSite, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;
const volume = "a.img";

test("records of unfinished business that are damaged are put aside, and stop nothing", async () => {
  await using site = await makeSite({ volumes: [volume], driveBytes: 128 * mib, local: true });
  makeImage(site.image(volume), { size: 2 * mib, dataBytes: mib, seed: 1 });
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });
  const digest = sha256Of(site.image(volume));
  const paths = ["kept", "restoring", "swap", "archives/default/unfinished"];
  for (const path of paths) {
    const file = join(site.state, path);
    writeFileSync(file, "rot");
    const ended = await site.sparsebak(["-u", "receive", volume]);
    expect(ended, `${path}: ${ended.stderr}`).toMatchObject({ code: 0 });
    expect(ended.stderr, path).toContain(`${file}: its digest does not fit its content; it is put aside as`);
    expect(readFileSync(`${file}.damaged`, "utf8")).toBe("rot");
    expect((await site.sparsebak(["-u", "receive", "--confirm", volume])).stderr, path).toBe("");
    expect(await site.sparsebak(["-u", "prune", "--keep-last", "1"]), path).toMatchObject({
      code: 0,
      stderr: "",
    });
  }
  expect(sha256Of(site.image(volume))).toBe(digest);
});

test("half-written files of a crash go with the next send, though it has nothing to write", async () => {
  await using site = await makeSite({ volumes: [volume], driveBytes: 128 * mib, local: true });
  makeImage(site.image(volume), { size: 2 * mib, dataBytes: mib, seed: 1 });
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });
  const archive = join(site.state, "archives", "default");
  const files = readdirSync(archive, { recursive: true, encoding: "utf8" })
    .filter((path) => statSync(join(archive, path)).isFile())
    .map((path) => join(archive, path));
  expect(files.map((path) => basename(path))).toEqual(expect.arrayContaining(["archive", "stamp", "table"]));
  for (const file of files) writeFileSync(`${file}.new`, "half");
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });
  expect(files.filter((file) => existsSync(`${file}.new`))).toEqual([]);
  expect(files.filter((file) => !existsSync(file))).toEqual([]);
});

test("each file of the state", async () => {
  await using site = await makeSite({
    volumes: [volume],
    driveBytes: 128 * mib,
    settings: ["chunk-size = 64K"],
    local: true,
  });
  makeImage(site.image(volume), { size: 2 * mib, dataBytes: mib, seed: 1 });
  const send = async (): ReturnType<typeof site.sparsebak> => {
    changeImage(site.image(volume), mib / 8, ++seed, 2 * mib);
    return site.sparsebak(["-u", "send"]);
  };
  let seed = 1;
  for (let i = 0; i < 2; i++) expect(await send()).toMatchObject({ code: 0 });
  const recovery = join(site.directory, "recovery");
  const form = (await site.sparsebak(["key", "--show-recovery"])).stdout.trim().split("\n").at(-1) ?? "";
  writeFileSync(recovery, form, { mode: 0o600 });

  const files = readdirSync(site.state, { recursive: true, encoding: "utf8" })
    .filter((path) => statSync(join(site.state, path)).isFile())
    .filter((path) => !["lock", "sparsebak.ini"].includes(basename(path)));
  expect(files).toContain(join("archives", "default", "archive"));
  for (const path of files) {
    for (const damage of ["removed", "flipped"]) {
      const file = join(site.state, path);
      // An index of chunks whose damage a send came upon was given up; the next one makes it again.
      if (!existsSync(file)) expect(await send(), `before ${path}`).toMatchObject({ code: 0 });
      const bytes = readFileSync(file);
      if (damage === "removed" || bytes.length === 0) rmSync(file);
      else {
        bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0x20;
        writeFileSync(file, bytes);
      }
      const what = `${path} ${damage}`;
      let ended = await send();
      if (basename(path) === "key" || (basename(path) === "owner" && damage === "flipped")) {
        expect(ended.code, what).toBe(1);
        expect(ended.stderr, what).toContain(path);
        if (basename(path) === "owner") rmSync(file);
        else {
          const joined = await site.sparsebak(["-u", "init", "--join", "--passphrase-file", recovery]);
          expect(joined, `${what}: ${joined.stderr}`).toMatchObject({ code: 0 });
        }
        ended = await send();
      }
      expect(ended, `${what}: ${ended.stderr}`).toMatchObject({ code: 0 });
      if (path.endsWith("archive")) expect(ended.stderr, what).toContain("made again from the archive");
      expect(await site.assembled(volume), what).toBe(sha256Of(site.image(volume)));
    }
  }
});
