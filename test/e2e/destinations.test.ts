// Several destinations: each has its own archive and its own state, a run goes to one or to all of them, and one that
// fails does not stop the others. (What they cost is shown on thin volumes, in the lab: image files have no deltas.)

import { appendFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { type Ended, makeSite, sha256Of, type Site } from "../support/site.ts";
import { linesOf } from "../support/site-sessions.ts";

const mib = 1024 * 1024;
const size = 8 * mib;
const volume = "work.img";

interface Line {
  readonly type: string;
  readonly archive?: string;
  readonly kind?: string;
  readonly session?: string;
  readonly reason?: string;
}

/** What was done and what failed, without what is said besides. */
function doneIn(ended: Ended): Line[] {
  return (linesOf(ended) as unknown as Line[]).filter(({ type }) => type !== "notice" && type !== "warning");
}

async function sendTo(site: Site, dest: string, code = 0): Promise<Line[]> {
  const ended = await site.sparsebak(["-u", "--json", "--dest", dest, "send"]);
  expect(ended, ended.stderr).toMatchObject({ code });
  return doneIn(ended);
}

/** Until the clock shows another second. */
async function nextSecond(): Promise<void> {
  await sleep(1000 - (Date.now() % 1000));
}

async function assembled(site: Site, directory: string, session?: string): Promise<string> {
  const output = join(site.directory, "out.img");
  const choice = session === undefined ? [] : ["--session", session];
  const ended = await site.spbkAssemble([join(site.drive, directory, volume), "-q", "-o", output, ...choice]);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  const digest = sha256Of(output);
  rmSync(output);
  return digest;
}

test("one, another, all; one of them not there; none of them there", async () => {
  await using site = await makeSite({ volumes: [volume], local: true, driveBytes: 128 * mib });
  const away = join(site.directory, "away");
  appendFileSync(
    site.ini,
    [
      `[archive usb]\ndestvm = none\ndestmountpoint = ${site.drive}\ndestdir = usb`,
      `[archive away]\ndestvm = none\ndestmountpoint = ${away}\ndestdir = backups\n`,
    ].join("\n"),
  );
  makeImage(site.image(volume), { size, dataBytes: 2 * mib, seed: 3 });
  const states = [sha256Of(site.image(volume))];
  expect(await sendTo(site, "usb")).toMatchObject([{ kind: "full", archive: "usb" }]);
  expect(readdirSync(site.drive)).not.toContain("backups");

  // All: what `usb` has is not sent to it again, `default` gets everything, and `away` is not mounted. In the second of
  // its first session, `usb` would have to call the next one otherwise than `default` does.
  await nextSecond();
  changeImage(site.image(volume), mib, 4, size);
  states.push(sha256Of(site.image(volume)));
  const lines = await sendTo(site, "all", 3);
  const sent = lines.filter((each) => each.type === "volume");
  expect(sent).toMatchObject([
    { archive: "default", kind: "full" },
    { archive: "usb", kind: "compared" },
  ]);
  expect(sent[0]?.session).toBe(sent[1]?.session);
  expect(lines.find((each) => each.type === "error")).toMatchObject({
    archive: "away",
    reason: "destination",
  });

  changeImage(site.image(volume), mib, 5, size);
  states.push(sha256Of(site.image(volume)));
  expect(await sendTo(site, "default")).toMatchObject([{ archive: "default", kind: "compared" }]);
  const sessions = async (name: string): Promise<string[]> => {
    const listed = await site.sparsebak(["--json", "--dest", name, "list", volume]);
    expect(listed, listed.stderr).toMatchObject({ code: 0 });
    return doneIn(listed).flatMap((each) =>
      each.type === "session" ? [(each as { name?: string }).name ?? ""] : [],
    );
  };
  const inDefault = await sessions("default");
  const inUsb = await sessions("usb");
  expect(inDefault.length).toBe(2);
  expect(inUsb.length).toBe(2);
  expect(await assembled(site, "backups", inDefault[0])).toBe(states[1]);
  expect(await assembled(site, "backups", inDefault[1])).toBe(states[2]);
  expect(await assembled(site, "usb", inUsb[0])).toBe(states[0]);
  expect(await assembled(site, "usb", inUsb[1])).toBe(states[1]);
  const status = await site.sparsebak(["status"]);
  expect(status.stdout).toMatch(/work\.img \(default\): S_[^]*work\.img \(usb\): S_/);

  // None is there; then the name is asked of a command that goes to one, and given to a destination.
  site.unmount();
  const errors = (await sendTo(site, "all", 4)).filter((each) => each.type === "error");
  expect(errors.map((each) => each.archive)).toEqual(["default", "usb", "away"]);
  site.mount();
  expect(await sendTo(site, "usb")).toMatchObject([{ archive: "usb", kind: "compared" }]);
  const listing = await site.sparsebak(["--dest", "all", "list"]);
  expect(listing.stderr).toMatch(/only send goes to all/);
  expect(listing.code).toBe(2);
  writeFileSync(site.ini, readFileSync(site.ini, "utf8").replace("[archive away]", "[archive all]"));
  const named = await site.sparsebak(["list"]);
  expect(named.stderr).toMatch(/stands for all destinations/);
  expect(named.code).toBe(2);
});
