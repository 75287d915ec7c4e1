// What a person at a terminal is asked, and what comes of each answer: nothing is removed without the one that is wanted,
// ^C ends everything with 130, ^D gives up.

import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeImage } from "../../bench/image.ts";
import { treeOf } from "../support/archive-tree.ts";
import { atTerminal, type Shown } from "../support/at-terminal.ts";
import { makeSite, type Site } from "../support/site.ts";

const mib = 1024 * 1024;
const [one, two] = ["one.img", "two.img"] as const;
const [interrupt, endOfInput] = ["\u0003", "\u0004"];
const stopped = { code: 130, output: expect.stringContaining("stopped by SIGINT") };
const secret = "Passphrase, or recovery form of the key: ";

/** Two volumes, one session each. */
async function made(sealed?: true | "later"): Promise<Site> {
  const site = await makeSite({
    volumes: [one, two],
    local: true,
    driveBytes: 64 * mib,
    settings: ["chunk-size = 64K"],
    ...(sealed && { sealed }),
  });
  for (const [seed, name] of [one, two].entries())
    makeImage(site.image(name), { size: mib, dataBytes: mib / 2, seed });
  if (sealed === "later") return site;
  const sent = await site.sparsebak(["-u", "send"]);
  expect(sent, sent.stderr).toMatchObject({ code: 0 });
  return site;
}

const volumesOf = (site: Site): readonly string[] =>
  readdirSync(site.archive).filter((name) => name.endsWith(".img"));

test("delete: only the volume's name deletes it; another one, ^C and ^D change nothing", async () => {
  await using site = await made();
  const prompt = (name: string): string =>
    `delete ${name} and all its sessions from archive default? Type its name: `;
  const deleting = async (...answers: readonly string[]): Promise<Shown> =>
    atTerminal(
      site,
      "sparsebak",
      ["delete", one, two],
      answers.map((answer, i) => [prompt([one, two][i] ?? ""), answer]),
    );
  const before = treeOf(site.archive);
  for (const answer of ["", "y", two, "one"]) {
    expect(await deleting(answer)).toMatchObject({
      code: 1,
      output: expect.stringContaining(`that is not ${one}; nothing was deleted`),
    });
  }
  // Both are asked for before either goes.
  expect(await deleting(one, one)).toMatchObject({ code: 1 });
  expect(await deleting(interrupt)).toMatchObject(stopped);
  expect(await deleting(one, interrupt)).toMatchObject(stopped);
  const givenUp = await deleting(endOfInput);
  expect(givenUp).toMatchObject({ code: 1, output: expect.stringContaining("given up") });
  expect(givenUp.output).not.toContain("Aborted");
  expect(treeOf(site.archive)).toEqual(before);

  const deleted = await deleting(` ${one}  `, two);
  expect(deleted.code, deleted.output).toBe(0);
  expect(deleted.output).toContain(`${one}: deleted, 1 session`);
  expect(volumesOf(site)).toEqual([]);
});

test("check --repair: yes removes what is lost; anything else leaves it as it is", async () => {
  await using site = await made();
  const directory = site.volumeDirectory(one);
  const [session = ""] = readdirSync(directory).filter((name) => name.startsWith("S_"));
  // The volume is gone as well: nothing can put it back.
  rmSync(join(directory, session, "000000000"), { recursive: true });
  rmSync(site.image(one));
  const repairing = async (answer: string): Promise<Shown> =>
    atTerminal(site, "sparsebak", ["check", "--repair"], [["[y/N] ", answer]]);
  const before = treeOf(site.archive);
  for (const answer of ["", "n", "yess", "no"]) {
    const ended = await repairing(answer);
    expect(ended.code, ended.output).toBe(5);
    expect(ended.output).toContain("[y/N]");
  }
  expect(await repairing(interrupt)).toMatchObject(stopped);
  expect(await repairing(endOfInput)).toMatchObject({
    code: 1,
    output: expect.stringContaining("given up"),
  });
  expect(treeOf(site.archive)).toEqual(before);

  const repaired = await repairing("yes");
  expect(repaired.output).toContain(session);
  expect(existsSync(join(directory, session))).toBe(false);
  expect(await site.sparsebak(["-u", "check"])).toMatchObject({ code: 0 });
  expect((await site.sparsebak(["verify", two])).code).toBe(0);
});

test("^C at a passphrase is one anywhere: 130, and nothing is made", async () => {
  await using site = await made("later");
  const first = ["New passphrase: ", interrupt] as const;
  expect(await atTerminal(site, "sparsebak", ["send"], [first])).toMatchObject(stopped);
  const second = ["The same passphrase again: ", interrupt] as const;
  const both = [["New passphrase: ", site.passphrase], second] as const;
  expect(await atTerminal(site, "sparsebak", ["send"], both)).toMatchObject(stopped);
  const givenUp = await atTerminal(site, "sparsebak", ["init"], [["New passphrase: ", endOfInput]]);
  expect(givenUp).toMatchObject({ code: 1, output: expect.stringContaining("New passphrase: given up") });
  expect(readdirSync(site.drive, { recursive: true })).not.toContain("backups/heads/1");
});

test("a passphrase that is not given is asked for once, however many volumes there are", async () => {
  await using site = await made("later");
  const refused = async (
    error: string,
    ...answers: readonly (readonly [string, string])[]
  ): Promise<void> => {
    const { code, output } = await atTerminal(site, "sparsebak", ["send"], [...answers, ...answers]);
    expect(code, output).toBe(1);
    expect(output.match(/^New passphrase: \r?$/gm), output).toHaveLength(1);
    expect(output.match(/(?<=error: )[^\r\n]*/g)).toEqual([error]);
  };
  const first = ["New passphrase: ", site.passphrase] as const;
  const again = "The same passphrase again: ";
  await refused("New passphrase: given up", ["New passphrase: ", endOfInput]);
  await refused("The same passphrase again: given up", first, [again, endOfInput]);
  await refused("passphrase: the two are not the same", first, [again, "another"]);
  expect(readdirSync(site.drive, { recursive: true })).not.toContain("backups/heads/1");
});

test("^C at the passphrase of an archive, in dom0 and in the VM", async () => {
  await using site = await made(true);
  const listing = [site.volumeDirectory(one), "--list"];
  expect(await atTerminal(site, "spbk-assemble", listing, [[secret, interrupt]])).toMatchObject(stopped);
  expect(await atTerminal(site, "spbk-assemble", listing, [[secret, endOfInput]])).toMatchObject({ code: 1 });
  rmSync(join(site.state, "archives"), { recursive: true });
  const joining = ["init", "--join"];
  expect(await atTerminal(site, "sparsebak", joining, [[secret, interrupt]])).toMatchObject(stopped);
});
