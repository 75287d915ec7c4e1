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

test("what was deleted, rotten: said and put aside, and what is deleted from then on is noted", async () => {
  const names = ["a.img", "b.img", "c.img"] as const;
  const [a, b] = names;
  await using site = await makeSite({ volumes: names, driveBytes: 128 * mib, local: true, sealed: true });
  for (const [seed, name] of names.entries())
    makeImage(site.image(name), { size: 2 * mib, dataBytes: mib, seed });
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });
  const remove = async (name: string): ReturnType<typeof site.sparsebak> =>
    site.sparsebak(["-u", "delete", "--yes", name]);
  expect(await remove(a)).toMatchObject({ code: 0 });
  const file = join(site.state, "archives", "default", "deleted");
  const rotten = `${readFileSync(file, "utf8")}rot`;
  writeFileSync(file, rotten);
  const ended = await remove(b);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  expect(ended.stderr).toContain(
    `warning: read state: ${file}: its digest does not fit its content; it is put aside as ${file}.damaged: key --export gives no key`,
  );
  expect(readFileSync(`${file}.damaged`, "utf8")).toBe(rotten);
  expect(await site.sparsebak(["key", "--export", a])).toMatchObject({ code: 1, stdout: "" });
  expect(await site.sparsebak(["key", "--export", b])).toMatchObject({ code: 0 });
});

test("when a volume was last backed up, rotten: status says so, and what to do; a send makes it again", async () => {
  await using site = await makeSite({ volumes: [volume], driveBytes: 128 * mib, local: true });
  makeImage(site.image(volume), { size: 2 * mib, dataBytes: mib, seed: 1 });
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });
  const volumes = join(site.state, "archives", "default", "volumes");
  const file = join(volumes, readdirSync(volumes)[0] ?? "", "last");
  writeFileSync(file, "rot");
  const ended = await site.sparsebak(["status"]);
  expect(ended).toMatchObject({ code: 0 });
  expect(ended.stdout).toMatch(/^a\.img \(default\): no session known here, see sparsebak list;/m);
  expect(ended.stderr).toContain(
    `${file}: its digest does not fit its content; the next send of the volume makes it again`,
  );
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });
  expect(await site.sparsebak(["status"])).toMatchObject({ code: 0, stderr: "" });
});

test("a restore that a damaged note stands in the way of ends with what to do, and nothing behind it", async () => {
  const names = ["vm-a-private", "vm-b-private"] as const;
  const [a, b] = names;
  await using site = await makeSite({ volumes: names, driveBytes: 128 * mib, local: true });
  for (const [seed, name] of names.entries())
    makeImage(site.image(name), { size: 2 * mib, dataBytes: mib, seed });
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });

  // Image files: what was half made is there, and is not known any more.
  const left = join(site.images, `.${a}.sparsebak-restore`);
  writeFileSync(left, "half");
  writeFileSync(join(site.state, "restoring"), "rot");
  const file = await site.sparsebak(["receive", a]);
  expect(file).toMatchObject({ code: 1, stdout: "" });
  expect(file.stderr.split("\n")).toEqual([
    expect.stringMatching(
      /^sparsebak: warning: .*restoring: its digest does not fit .* to be removed by hand$/,
    ),
    `sparsebak: error: ${a}: found ${left}, which another restore has left or is making, wanted nothing there`,
    "sparsebak: hint: where none is running, remove it",
    "",
  ]);
  expect(await site.sparsebak(["receive", b])).toMatchObject({ code: 0, stderr: "" });
  expect(await site.sparsebak(["receive", a])).toMatchObject({ code: 1 });
  rmSync(left);
  expect(await site.sparsebak(["receive", a])).toMatchObject({ code: 0, stderr: "" });

  // Thin volumes, as a kill between the two renames leaves them. This machine has none: lvs is acted.
  const [tools = ""] = site.lab.dom0Path.split(":");
  const owner = readFileSync(join(site.state, "owner"), "utf8").trim();
  const lvs = JSON.stringify({ report: [{ lv: thinVolumes(a, `sparsebak,sparsebak-${owner}`) }] });
  writeFileSync(join(tools, "lvs"), `#!/bin/sh\ncat <<'END'\n${lvs}\nEND\n`, { mode: 0o755 });
  const ini = readFileSync(site.ini, "utf8");
  writeFileSync(site.ini, ini.replace(/^localpath = .*$/m, "vgname = vg\npoolname = pool"));
  writeFileSync(join(site.state, "swap"), "rot");
  const what = `${a}: a restore of it was cut short, and which step it was at is not known any more: the restored one is vg/${a}.restore, the old one vg/${a}.old-0000aaaa`;
  const toDo = `give one of them the name: lvrename vg ${a}.restore ${a}, or lvrename vg ${a}.old-0000aaaa ${a}`;
  for (const args of [[], ["--no-base"], ["--in-place"]]) {
    const thin = await site.sparsebak(["receive", a, ...args]);
    expect(thin, args.join(" ")).toMatchObject({ code: 1, stdout: "" });
    const lines = thin.stderr.split("\n");
    // Said once, when it was put aside.
    if (args.length === 0) expect(lines.shift()).toMatch(/warning: .*swap: its digest does not fit/);
    expect(lines, args.join(" ")).toEqual([`sparsebak: error: ${what}`, `sparsebak: hint: ${toDo}`, ""]);
  }
  // Another volume's restore has only to say it.
  const other = await site.sparsebak(["receive", b, "--in-place"]);
  expect(other.stderr.split("\n")).toEqual([
    `sparsebak: warning: ${what}; ${toDo}`,
    expect.stringContaining(`error: ${b}: there is no such volume in vg`),
    "",
  ]);
});

/** What lvs says of a pool in which a restored volume and the old one wait for one name. */
function thinVolumes(name: string, tags: string): readonly object[] {
  const uuid = (n: number): string => `AAAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA0${n}`;
  const lv = (lvName: string, n: number): object => ({
    vg_uuid: uuid(0),
    lv_name: lvName,
    lv_uuid: uuid(n),
    thin_id: String(n),
    origin_uuid: "",
    pool_lv_uuid: uuid(1),
    lv_size: String(2 * mib),
    lv_attr: "Vwi---tz--",
    lv_tags: tags,
    lv_time: "1795701600",
    segtype: "thin",
    chunk_size: "0",
    data_percent: "",
    metadata_percent: "",
    lv_metadata_size: "",
  });
  const pool = {
    ...lv("pool", 1),
    thin_id: "",
    pool_lv_uuid: "",
    lv_size: String(1024 * mib),
    lv_attr: "twi-aotz--",
    lv_tags: "",
    segtype: "thin-pool",
    chunk_size: "65536",
    data_percent: "10.00",
    metadata_percent: "10.00",
    lv_metadata_size: String(4 * mib),
  };
  return [pool, lv(`${name}.old-0000aaaa`, 2), lv(`${name}.restore`, 3)];
}

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
  // What the send makes again without having needed it, and what can't be told from one that never was.
  const unsaid = { removed: ["0", "last", "stamp", "table-stamp"], flipped: ["last"] };
  for (const path of files) {
    for (const damage of ["removed", "flipped"] as const) {
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
      if (!unsaid[damage].includes(basename(path))) expect(ended.stderr, what).toContain(file);
      if (basename(path) === "key" || (basename(path) === "owner" && damage === "flipped")) {
        expect(ended.code, what).toBe(1);
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
