// What end-to-end tests ask of the sessions of a site: that exactly these are listed, that each assembles to what it
// was, and that nothing is stored that nobody names.

import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect } from "vitest";
import { readNaively } from "./naive-archive.ts";
import { type Ended, leftovers, sha256Of, type Site } from "./site.ts";

/** The digest of each session's image, by `VOLUME SESSION`. */
export type Digests = Map<string, string>;

/** Runs sparsebak, which must succeed. */
export async function run(site: Site, ...args: string[]): Promise<Ended> {
  const ended = await site.sparsebak(["-u", ...args]);
  expect(ended, `${args.join(" ")}: ${ended.stderr}`).toMatchObject({ code: 0 });
  return ended;
}

/** What --json printed. */
export function linesOf(ended: Ended): readonly Record<string, unknown>[] {
  return ended.stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** Sends and notes what the sessions hold. */
export async function send(site: Site, digests: Digests, ...args: string[]): Promise<readonly string[]> {
  const lines = linesOf(await run(site, "--json", "send", ...args)).filter(
    (each) => each["type"] === "volume",
  );
  return lines.flatMap(({ volume: of, session }) => {
    if (typeof session !== "string") return [];
    digests.set(`${String(of)} ${session}`, sha256Of(site.image(String(of))));
    return [session];
  });
}

/** Sessions that `list` shows, as `VOLUME SESSION`. */
export async function listed(site: Site): Promise<readonly string[]> {
  return linesOf(await run(site, "--json", "--all", "list"))
    .filter((each) => each["type"] === "session")
    .map((each) => `${String(each["volume"])} ${String(each["name"])}`)
    .sort();
}

/** Exactly these sessions are listed, each assembles to what it was, and no chunk is there that no manifest needs, but in
 *  the container `stuck`, a path below the archive: a tar that can't be made smaller here. */
export async function expectSessions(
  site: Site,
  digests: Digests,
  wanted: readonly string[],
  stuck?: string,
): Promise<void> {
  expect(await listed(site)).toEqual([...wanted].sort());
  for (const each of wanted) {
    const [of = "", session] = each.split(" ");
    expect(await site.assembled(await directoryOf(site, of), session), each).toBe(digests.get(each));
  }
  const found = readNaively(site.archive);
  const needed = new Set(found.sessions.flatMap((each) => [...each.files]));
  const stored = [...found.stored].filter((each) => needed.has(each) || dirname(dirname(each)) !== stuck);
  expect(stored.sort()).toEqual([...needed].sort());
  expect([...found.listed].sort()).toEqual([...needed].sort());
  expect(leftovers(site.archive)).toEqual([]);
  expect(existsSync(join(site.archive, "dead")) ? readdirSync(join(site.archive, "dead")) : []).toEqual([]);
}

/** A renamed volume keeps its directory, and a new one of an old one's name gets another. */
async function directoryOf(site: Site, name: string): Promise<string> {
  const lines = linesOf(await run(site, "--json", "list", name));
  return String(lines.find((each) => each["type"] === "volume")?.["directory"]);
}
