// sparsebak assemble, through the built programs: which session, where it goes, and what is said of it.

import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { makeSite, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;
const volume = "work.img";

function assembled(stdout: string): { readonly image: string } {
  const lines = stdout.trim().split("\n");
  const objects = lines.map((line) => JSON.parse(line) as { type: string; image: string });
  return objects.find((each) => each.type === "assemble") ?? { image: "" };
}

test("by every name of a session, to where it says, and over nothing", { timeout: 120_000 }, async () => {
  await using site = await makeSite({
    volumes: [volume],
    driveBytes: 64 * mib,
    sealed: true,
    local: true,
    settings: ["chunk-size = 64K"],
  });
  const image = site.image(volume);
  makeImage(image, { size: 2 * mib, dataBytes: mib, seed: 3 });
  const send = async (tag: string): Promise<string> => {
    const sent = await site.sparsebak(["-u", "--json", "send", "--tag", tag]);
    expect(sent, sent.stderr).toMatchObject({ code: 0 });
    return /"session":"(S_[\d-]+)"/.exec(sent.stdout)?.[1] ?? "";
  };
  const first = sha256Of(image);
  const session = await send("before");
  changeImage(image, 100_000, 1, 2 * mib);
  const later = await send("after");
  const assemble = async (...args: string[]): ReturnType<typeof site.sparsebak> =>
    site.sparsebak(["-u", "--json", "assemble", "--reveal", volume, ...args]);

  const listed = await site.sparsebak(["--json", "list", volume, "--session", session]);
  const uid = /"uid":"([0-9a-f]{32})"/.exec(listed.stdout)?.[1] ?? "";
  const beginning = later.startsWith(session.slice(0, -1)) ? session : session.slice(0, -1);
  for (const [i, name] of [session, "before", beginning, ...(uid === "" ? [] : [uid])].entries()) {
    const built = await assemble("--session", name, "--save-to", `images/${i}.img`);
    expect(built, built.stderr).toMatchObject({ code: 0 });
    const path = join(site.drive, `images/${i}.img`);
    expect(assembled(built.stdout)).toMatchObject({ session, imageDigest: first, image: path });
    expect(sha256Of(path)).toBe(first);
  }
  const usual = await assemble();
  const { image: path } = assembled(usual.stdout);
  expect(sha256Of(path)).toBe(sha256Of(image));

  writeFileSync(join(site.drive, "precious"), "precious");
  const before = readdirSync(site.drive, { recursive: true, encoding: "utf8" }).toSorted();
  const refused: readonly (readonly [string, number, RegExp])[] = [
    ["precious", 1, /error: assemble: \S+\/precious is there already\n.*hint: .*--save-to/],
    ["backups/heads/9", 4, /not-allowed: an image can't be put among the files of an archive/],
    ["../../x", 2, /--save-to: found «..\/..\/x», wanted a path below/],
    ["/etc/x.img", 2, /--save-to: found «\/etc\/x.img», wanted a path below/],
  ];
  for (const [saveTo, code, says] of refused) {
    const ended = await assemble("--save-to", saveTo);
    expect(ended.stderr).toMatch(says);
    expect(ended.stderr).not.toMatch(/receiver\.ini|\/proc\//);
    expect(ended).toMatchObject({ code });
  }
  const unknown = await assemble("--session", "S_1999");
  expect(unknown.stderr).toMatch(/has no session «S_1999» of it\n.*hint: sparsebak list/);
  expect(readdirSync(site.drive, { recursive: true, encoding: "utf8" }).toSorted()).toEqual(before);
  expect(existsSync("/etc/x.img")).toBe(false);
});
