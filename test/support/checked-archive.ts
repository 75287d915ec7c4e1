// An archive of three volumes with every kind of file in it, for tests that damage it, and put it back to how it was.

import { copyFileSync, cpSync, readdirSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { expect } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { chunksOf, theOne } from "./damage.ts";
import { linesOf } from "./site-sessions.ts";
import { type Ended, makeSite, sha256Of, type Site } from "./site.ts";

const size = 2 * 1024 * 1024 + 4096;
export const template = "vm-debian-root";
export const clone = "vm-clone-root";
export const work = "work.img";

/** A session of a volume, and what it assembles to. */
export interface Session {
  readonly volume: string;
  readonly name: string;
  readonly digest: string;
}

export interface CheckedArchive extends AsyncDisposable {
  readonly site: Site;
  readonly sessions: readonly Session[];
  /** Puts the archive and dom0's state back to how they were. */
  restore(): void;
  /** The sessions, of those given, that don't assemble to what they were. */
  broken(sessions?: readonly Session[]): Promise<readonly string[]>;
  /** The sessions that a `check` says are damaged. */
  named(ended: Ended): readonly string[];
  path(...parts: readonly string[]): string;
  /** Where the n-th session of a volume lies. */
  session(volume: string, n: number): string;
  /** A file of the archive and its second copy. */
  both(path: string): readonly string[];
  head(): string;
  index(volume: string): string;
  /** Files of sessions of `work`. */
  manifest(n: number): string;
  list(n: number): string;
  /** The n-th chunk of a volume's first session. */
  chunk(volume: string, n: number): string;
  /** The tar of `work` or of `clone`. */
  tar(volume: string): string;
}

export const nameOf = ({ volume, name }: Session): string => `${volume} ${name}`;

/** Three volumes, two of which share chunks; first sessions in directories, then some in tars, then a directory. */
export async function makeCheckedArchive(): Promise<CheckedArchive> {
  const site = await makeSite({
    volumes: [template, clone, work],
    local: true,
    driveBytes: 512 * 1024 ** 2,
    settings: ["chunk-size = 64K"],
  });
  const sessions: Session[] = [];
  const send = async (...args: string[]): Promise<void> => {
    const ended = await site.sparsebak(["-u", "--json", "send", ...args]);
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    for (const { type, volume, session } of linesOf(ended)) {
      if (type === "volume" && typeof volume === "string" && typeof session === "string")
        sessions.push({ volume, name: session, digest: sha256Of(site.image(volume)) });
    }
  };
  makeImage(site.image(template), { size, dataBytes: 1024 * 1024, seed: 30 });
  makeImage(site.image(work), { size, dataBytes: 1024 * 1024, seed: 31 });
  await send(template, work);
  copyFileSync(site.image(template), site.image(clone));
  changeImage(site.image(clone), 128 * 1024, 32, size);
  changeImage(site.image(work), 256 * 1024, 33, size);
  await send("--tarfile", clone, work);
  changeImage(site.image(template), 128 * 1024, 34, size);
  changeImage(site.image(clone), 128 * 1024, 35, size);
  changeImage(site.image(work), 128 * 1024, 36, size);
  await send(template, clone, work);
  const kept = join(site.directory, "kept");
  cpSync(site.archive, join(kept, "archive"), { recursive: true });
  cpSync(site.state, join(kept, "state"), { recursive: true });

  const path = (...parts: readonly string[]): string => join(site.archive, ...parts);
  const session = (volume: string, n: number): string =>
    path(volume, sessions.filter((each) => each.volume === volume)[n]?.name ?? "");
  return {
    site,
    sessions,
    restore: () => {
      for (const name of readdirSync(site.archive)) rmSync(path(name), { recursive: true });
      cpSync(join(kept, "archive"), site.archive, { recursive: true });
      rmSync(site.state, { recursive: true });
      cpSync(join(kept, "state"), site.state, { recursive: true });
    },
    broken: async (of = sessions) => {
      const ended = await Promise.all(
        of.map(async (each) => {
          const args = [path(each.volume), "--session", each.name, "--verify"];
          const { code, stdout } = await site.spbkAssemble(args);
          return code === 0 && stdout.includes(each.digest) ? [] : [nameOf(each)];
        }),
      );
      return ended.flat().sort();
    },
    named: (ended) =>
      linesOf(ended)
        .flatMap(({ command, volume, damaged }) => {
          if (command !== "check") return [];
          if (damaged === "all") return sessions.filter((each) => each.volume === volume).map(nameOf);
          return (damaged as string[]).map((name) => `${String(volume)} ${name}`);
        })
        .sort(),
    path,
    session,
    both: (file) => [file, path("copies", relative(site.archive, file))],
    head: () => theOne(path("heads"), /^\d+$/),
    index: (volume) => theOne(path(volume), /^index\./),
    manifest: (n) => theOne(session(work, n), /^manifest\./),
    list: (n) => join(session(work, n), "list"),
    chunk: (volume, n) => chunksOf(session(volume, 0))[n] ?? "",
    tar: (volume) => `${session(volume, volume === work ? 1 : 0)}.tar`,
    [Symbol.asyncDispose]: async () => site[Symbol.asyncDispose](),
  };
}
