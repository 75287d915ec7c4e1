// The damage test: every kind of file of an archive is flipped, cut, removed and swapped, and `check` names exactly the
// sessions that this costs: those that don't assemble any more, and no others.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type CheckedArchive,
  clone,
  makeCheckedArchive,
  nameOf,
  template,
  work,
} from "../support/checked-archive.ts";
import { cut, flip, remove, swap } from "../support/damage.ts";
import { type Ended, sha256Of, type Site } from "../support/site.ts";

let archive: CheckedArchive;
beforeAll(async () => {
  archive = await makeCheckedArchive();
});
afterAll(async () => archive[Symbol.asyncDispose]());

/** A volume's directory: one that was made anew while the old one was there has another. */
function directoryOf(site: Site, volume: string): string {
  const names = readdirSync(site.archive).filter((name) => name === volume || name.startsWith(`${volume}+`));
  return names.sort().at(-1) ?? volume;
}

/** What is done to the archive, and whether the test goes on to repair it. */
const damages: [what: string, damage: () => void, repairs?: true][] = [
  [
    "an index flipped, and its copy",
    () => archive.both(archive.index(work)).forEach((each) => flip(each)),
    true,
  ],
  ["an index cut, and its copy", () => archive.both(archive.index(work)).forEach(cut)],
  [
    "an index removed that others share chunks with",
    () => archive.both(archive.index(template)).forEach(remove),
    true,
  ],
  [
    "two indexes swapped, their copies lost",
    () => {
      for (const each of [work, template]) remove(archive.both(archive.index(each))[1] ?? "");
      swap(archive.index(work), archive.index(template));
    },
  ],
  ["an index flipped", () => flip(archive.index(work)), true],
  ["an index cut", () => cut(archive.index(work))],
  ["an index removed", () => remove(archive.index(template)), true],
  ["two indexes swapped", () => swap(archive.index(work), archive.index(template)), true],
  ["a copy of an index flipped", () => flip(archive.both(archive.index(work))[1] ?? ""), true],
  ["the newest head flipped", () => flip(archive.head()), true],
  ["the newest head removed", () => remove(archive.head()), true],
  ["a copy of the newest head cut", () => cut(archive.both(archive.head())[1] ?? ""), true],
  ["a header flipped", () => flip(join(archive.session(work, 0), "header")), true],
  ["a header removed", () => remove(join(archive.session(work, 2), "header"))],
  ["the first manifest cut", () => cut(archive.manifest(0)), true],
  ["the last manifest flipped", () => flip(archive.manifest(2))],
  ["the last manifest removed", () => remove(archive.manifest(2)), true],
  ["two manifests swapped", () => swap(archive.manifest(0), archive.manifest(2))],
  ["a list flipped", () => flip(archive.list(0))],
  ["a list cut", () => cut(archive.list(0))],
  ["a list removed", () => remove(archive.list(2)), true],
  ["two lists swapped", () => swap(archive.list(0), archive.list(2))],
  ["a chunk flipped", () => flip(archive.chunk(work, 0))],
  ["a chunk cut", () => cut(archive.chunk(work, 1))],
  ["a chunk removed", () => remove(archive.chunk(work, 2)), true],
  ["chunks swapped", () => swap(archive.chunk(work, 3), archive.chunk(work, 4))],
  ["a chunk flipped that a clone shares", () => flip(archive.chunk(template, 2)), true],
  ["a tar's chunk flipped", () => flip(archive.tar(work))],
  ["a tar's offsets flipped", () => flip(archive.tar(work), 0.97)],
  ["a tar cut", () => cut(archive.tar(work)), true],
  ["a tar removed", () => remove(archive.tar(clone))],
  ["two tars swapped", () => swap(archive.tar(work), archive.tar(clone))],
  ["a session removed", () => remove(archive.session(work, 0)), true],
  ["two sessions swapped", () => swap(archive.session(work, 0), archive.session(work, 2))],
];

test.each(damages.map(([what, damage, repairs]) => ({ what, damage, repairs })))("$what", async (of) => {
  archive.restore();
  of.damage();
  const { site } = archive;
  const lost = await archive.broken();
  const ended = await site.sparsebak(["--json", "check"]);
  expect(archive.named(ended), ended.stdout).toEqual(lost);
  expect(ended, ended.stderr + ended.stdout).toMatchObject({ code: 5 });
  if (of.repairs === true) await checkRepair(lost);
});

/** Repairs: what was not lost stays, the archive is clean, and the next send brings back what the volumes hold. */
async function checkRepair(lost: readonly string[]): Promise<void> {
  const { site, sessions } = archive;
  const succeeds = async (...args: string[]): Promise<Ended> => {
    const ended = await site.sparsebak(args);
    expect(ended, `${args.join(" ")}: ${ended.stdout}${ended.stderr}`).toMatchObject({ code: 0 });
    return ended;
  };
  await succeeds("--json", "check", "--repair", "--yes");
  const left = sessions.filter((each) => !lost.includes(nameOf(each)));
  expect(await archive.broken(left)).toEqual([]);
  await succeeds("-u", "send");
  for (const volume of [template, clone, work])
    expect(await site.assembled(directoryOf(site, volume))).toBe(sha256Of(site.image(volume)));
  await succeeds("check", "--read-data");
}
