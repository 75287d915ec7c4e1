// In the guest, one part of these: what dom0's state can come to between two runs, and a volume that is reverted. A file
// that only thin volumes have is lost or damaged, also behind a send that was killed; the state is an older copy, or none
// at all. The next session is compared where what has changed can't be known otherwise, which is said; the one behind it
// is incremental again. What each has to be is printed, and the archive copied out, for the other side to assemble.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { lineOf, linesOf, mib, must, say, sha256 } from "./guest-program.ts";
import { checkNothingLeft, makeGuestSite } from "./guest-site.ts";
import { device, putAside, startVm, write } from "./guest-volumes.ts";

const [part = "", copyTo = "", ...killed] = process.argv.slice(2);
/** The first one is sent first: a send that is killed is killed there. */
const [work, mail] = ["vm-work-private", "vm-mail-private"] as const;
const volumes = [work, mail] as const;
const site = makeGuestSite({ volumes, volumeSize: "8M" });
for (const volume of volumes) write(volume, 0, mib);

type Kind = "full" | "incremental" | "compared" | "unchanged";

/** Sends, and expects what kind of session each volume gets. Gives what was said besides. */
function send(ofWork: Kind, ofMail: Kind = "unchanged"): string {
  const digests = volumes.map((volume) => sha256(device(volume)));
  const ended = site.good("-u", "--json", "send");
  for (const [i, kind] of [ofWork, ofMail].entries()) {
    const line = lineOf(ended, volumes[i] ?? "");
    assert.equal(line["kind"], kind, `${volumes[i]}: ${ended.stdout}`);
    if (kind !== "unchanged") say(`sent ${volumes[i]} ${String(line["session"])} ${digests[i]}`);
  }
  checkNothingLeft(site);
  return linesOf(ended)
    .filter((each) => each["type"] === "warning" || each["type"] === "notice")
    .map((each) => `${String(each["message"])}\n`)
    .join("");
}

/** Gives what was said besides. */
function monitor(): string {
  return site.good("monitor").stderr;
}

/** A chunk of each, seldom the same one. */
let turn = 0;
function change(...which: readonly string[]): void {
  turn++;
  for (const volume of which) write(volume, ((turn * 5) % 63) * 131_072, 4096);
}

/** The session behind one that was compared. */
function goesOn(...which: readonly string[]): void {
  change(...which);
  assert.equal(send("incremental", which.includes(mail) ? "incremental" : "unchanged"), "");
}

/** A file of dom0's state about a volume. */
function pathOf(file: string, volume: string = work): string {
  const archive = join(site.state, "archives", "default");
  const [record = ""] = readFileSync(join(archive, "archive"), "utf8").split("\n");
  const known = (JSON.parse(record) as { volumes: { name: string; id: string }[] }).volumes;
  return join(archive, "volumes", known.find(({ name }) => name === volume)?.id ?? "", file);
}

const damages = {
  gone: (path: string) => rmSync(path),
  flipped: (path: string) => {
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0x20;
    writeFileSync(path, bytes);
  },
  "cut short": (path: string) => truncateSync(path, statSync(path).size >> 1),
} as const;

/** What is said of a file that was flipped or cut short. */
function damaged(volume: string, path: string): string {
  return `${volume}: read state: ${path}: its digest does not fit its content; the volume is compared whole at the next send\n`;
}

/** What a send says of a volume without a map that could be used. */
function assertSaid(said: string, volume: string): void {
  assert.match(said, new RegExp(`^${volume}: .*; the whole volume is compared$`, "m"));
}

/** Where a send is killed: with its part of the map split off and nothing committed, or right behind its commit. */
const places = {
  "before its commit": /openSync .*\/journal-/,
  "behind its commit": /rmSync .*\/stamp$/,
} as const;

function killSend(place: keyof typeof places): void {
  if (place === "behind its commit") say(`may be ${work} ${sha256(device(work))}`);
  const ended = site.killed(places[place], "-u", "send");
  assert.equal(ended.signal, "SIGKILL", `${ended.code} ${ended.stderr}`);
}

function putBack(copy: string): void {
  for (const name of readdirSync(site.state)) must("rm", "-rf", join(site.state, name));
  must("cp", "-a", `${copy}/.`, site.state);
}

/** A file of a volume at rest, and of one whose send was killed, by the numbers of such cases (state.test.ts). */
function damagedFiles(): void {
  // What lies between the session and the monitor, the map alone knows of.
  change(work, mail);
  assert.equal(monitor(), "");
  change(work, mail);
  const atRest = pathOf("delta", mail);
  damages.gone(pathOf("delta"));
  damages.flipped(atRest);
  assert.equal(
    monitor(),
    `sparsebak: warning: ${damaged(mail, atRest)}sparsebak: there is no delta map of ${work}, ${mail}: the next send takes the whole, and begins one\n`,
  );
  const saidAtRest = send("compared", "compared");
  for (const volume of volumes) assertSaid(saidAtRest, volume);
  goesOn(work, mail);

  const cases = [
    ["before its commit", "delta", "gone", "compared"],
    ["before its commit", "pending", "gone", "compared"],
    ["before its commit", "pending", "flipped", "compared"],
    ["before its commit", "pending", "cut short", "compared"],
    ["before its commit", "sending", "gone", "compared"],
    ["before its commit", "sending", "flipped", "compared"],
    ["before its commit", "sending", "cut short", "compared"],
    ["behind its commit", "pending", "gone", "compared"],
    // What came in since is all that the next session needs.
    ["behind its commit", "sending", "gone", "incremental"],
    ["behind its commit", "delta", "cut short", "compared"],
  ] as const;
  for (const number of killed) {
    const found = cases[Number(number)];
    assert.ok(found, `case ${number} of ${cases.length}`);
    const [place, file, how, kind] = found;
    change(work);
    killSend(place);
    change(work);
    const path = pathOf(file);
    damages[how](path);
    // Whichever command comes first says it.
    if (how === "flipped")
      assert.equal(
        monitor(),
        `sparsebak: warning: ${damaged(work, path)}sparsebak: there is no delta map of ${work}: the next send takes the whole, and begins one\n`,
      );
    const said = send(kind);
    if (how === "cut short") assert.ok(said.startsWith(damaged(work, path)), said);
    if (kind === "compared") assertSaid(said, work);
    assert.doesNotMatch(said, new RegExp(mail));
    goesOn(work);
  }
}

/** An older copy of the state is put back. */
function olderCopy(): void {
  // Its snapshots have gone since: of a send that was killed, and of a volume at rest.
  change(work);
  killSend("before its commit");
  must("cp", "-a", site.state, "/run/killed");
  change(work, mail);
  send("incremental", "incremental");
  goesOn(work, mail);
  change(work, mail);
  putBack("/run/killed");
  const saidGone = monitor();
  for (const volume of volumes)
    assert.match(saidGone, new RegExp(`^sparsebak: warning: ${volume}: the snapshot that .* is gone`, "m"));
  change(work, mail);
  send("compared", "compared");
  goesOn(work, mail);

  // Its snapshots are there still: the next send was from them.
  change(work, mail);
  assert.equal(monitor(), "");
  must("cp", "-a", site.state, "/run/there");
  assert.equal(send("incremental", "incremental"), "");
  change(work);
  putBack("/run/there");
  const saidThere = send("compared", "unchanged");
  for (const volume of volumes) assertSaid(saidThere, volume);
  goesOn(work);
}

/** A volume is reverted, as Qubes does it: it goes, and a snapshot of the revision gets its name. */
function revertedVolume(): void {
  const before = sha256(device(work));
  let held = startVm(work);
  for (const at of [3, 5]) write(`${work}-snap`, at * mib, 3 * 131_072);
  const revision = putAside(work, held);
  assert.equal(send("incremental"), "");
  // The run that is undone as well was in the delta map already.
  held = startVm(work);
  write(`${work}-snap`, 6 * mib, 131_072);
  const other = putAside(work, held);
  assert.equal(monitor(), "");
  must("lvremove", "-f", `qubes_dom0/${work}`);
  must("lvcreate", "-kn", "-ay", "-s", `qubes_dom0/${revision}`, "-n", work);
  assert.equal(sha256(device(work)), before);
  assert.equal(send("incremental"), "");
  must("lvremove", "-f", `qubes_dom0/${revision}`, `qubes_dom0/${other}`);
  goesOn(work);
}

/** No state at all: the archive is joined. The snapshots of the state that is lost are in the way until the hint is
 *  followed. */
function joined(): void {
  const form = "/run/recovery";
  const groups = site.good("key", "--show-recovery").stdout.match(/^[0-9A-Z]{4}(?:-[0-9A-Z]{4})+$/gm);
  writeFileSync(form, (groups ?? []).join("-"), { mode: 0o600 });
  change(work, mail);
  for (const name of readdirSync(site.state))
    if (name !== "sparsebak.ini") must("rm", "-rf", join(site.state, name));
  site.good("-u", "init", "--join", "--passphrase-file", form);
  const refused = site.sparsebak("-u", "send");
  assert.notEqual(refused.code, 0);
  for (const volume of volumes)
    assert.match(
      refused.stderr,
      new RegExp(`${volume}\\.tick is there, made by a sparsebak whose state is not in`),
    );
  const [, tag = ""] = /lvremove (@sparsebak-[0-9a-f]{8}) /.exec(refused.stderr) ?? [];
  must("lvremove", "-f", tag);
  const said = send("compared", "compared");
  for (const volume of volumes) assertSaid(said, volume);
  goesOn(work, mail);
}

send("full", "full");
const parts: Record<string, () => void> = { damagedFiles, olderCopy, revertedVolume, joined };
parts[part]?.();
site.good("check", "--read-data");
must("tar", "-C", site.drive, "-cf", `${copyTo}/archive.tar`, "backups");
say("done");
