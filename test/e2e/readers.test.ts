// What reads an archive and what removes from it, at the same time. Within one dom0 they keep out of each other's way;
// where another host has removed what is being read, that is said, and not taken for damage.

import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { type Counted, type Ended, makeSite, type Site } from "../support/site.ts";
import { type Digests, listed, run, send } from "../support/site-sessions.ts";

const mib = 1024 * 1024;
const volume = "work.img";
const size = 3 * mib;

let site: Site;
const digests: Digests = new Map();
let first = "";
let reset: () => void;
/** Another host with the same key and the same archive. */
let otherIni = "";

beforeAll(async () => {
  site = await makeSite({ volumes: [volume], driveBytes: 64 * mib, settings: ["chunk-size = 64K"] });
  makeImage(site.image(volume), { size, dataBytes: 2 * mib, seed: 50 });
  [first = ""] = await send(site, digests);
  // Every chunk of the first session is another one in the second.
  makeImage(site.image(volume), { size, dataBytes: 2 * mib, seed: 51 });
  await send(site, digests);
  const other = join(site.directory, "dom0-other");
  cpSync(site.state, other, { recursive: true });
  otherIni = join(other, "sparsebak.ini");
  const saved = join(site.directory, "saved");
  for (const [name, path] of [
    ["archive", site.archive],
    ["state", site.state],
    ["other", other],
  ] as const)
    cpSync(path, join(saved, name), { recursive: true });
  reset = () => {
    for (const [name, path] of [
      ["archive", site.archive],
      ["state", site.state],
      ["other", other],
    ] as const) {
      rmSync(path, { recursive: true });
      cpSync(join(saved, name), path, { recursive: true });
    }
  };
});
afterAll(async () => site[Symbol.asyncDispose]());
beforeEach(() => reset());

/** Where a reader is held up: at the first thing that it does to the outside that is `counted`, else at its last one, or
 *  so many `before` that. */
interface Reader {
  readonly counted?: Counted;
  readonly before?: number;
}

/** Runs `args`, stopped once it has read all that it needs to know of the session and no chunk yet; meanwhile
 *  `beside`. Gives how it ended. */
async function heldUp(
  args: readonly string[],
  { counted, before = 0 }: Reader,
  beside: () => Promise<void>,
): Promise<Ended> {
  let n = 1;
  if (counted === undefined) {
    const countInto = join(site.directory, "count");
    await site.sparsebak(args, { countInto });
    n = Number(readFileSync(countInto, "utf8")) - before;
  }
  let pid = 0;
  const running = site.sparsebak(args, {
    killAt: n,
    stop: true,
    ...(counted === undefined ? {} : { counted }),
    onStart: (id) => (pid = id),
  });
  const state = (): string | undefined =>
    /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  // It ends in no other way that would leave its process there to be looked at.
  while (state() !== "T") await sleep(20);
  try {
    await beside();
  } finally {
    process.kill(pid, "SIGCONT");
  }
  return running;
}

const target = (): string => join(site.directory, "out.img");
const saving: Counted = { from: "^openSync .*-tmp$", until: "^never$" };
const connecting: Counted = { from: "^spawn qrexec-client", until: "^never$" };
const readers = (): readonly (Reader & { readonly args: readonly string[] })[] => [
  { args: ["receive", volume, "--session", first, "--save-to", target(), "--force"], counted: saving },
  // The last thing that it does is to write down the map ...
  { args: ["verify", volume, "--session", first] },
  // ... and behind that diff syncs the image, to know where it has holes, before and after it has read it.
  { args: ["diff", volume, "--session", first], before: 1 },
  { args: ["-u", "assemble", volume, "--session", first], counted: connecting },
  { args: ["check"], counted: connecting },
];

describe("one dom0", () => {
  test.each([0, 1, 2, 3, 4])(
    "reader %i: a prune, a delete and a repair beside it have status 6",
    async (i) => {
      const { args, ...at } = readers()[i]!;
      const before = await listed(site);
      const ended = await heldUp(args, at, async () => {
        for (const removing of [
          ["prune", "--keep-last", "1"],
          ["delete", "--yes", volume],
          ["check", "--repair", "--yes"],
        ]) {
          const refused = await site.sparsebak(["-u", ...removing]);
          expect(refused.stderr).toMatch(/another run of sparsebak is reading the archive/);
          expect(refused).toMatchObject({ code: 6 });
        }
        // Others that read, or take nothing away, are free to go.
        await run(site, "verify", volume);
        await run(site, "prune", "--keep-last", "1", "--dry-run");
        await run(site, "tag", volume, "kept");
      });
      const differs = args[0] === "diff" ? 1 : 0;
      expect(ended, ended.stderr).toMatchObject({ code: differs });
      expect(ended.stderr).not.toMatch(/removed/);
      expect(await listed(site)).toEqual(before);
      await run(site, "prune", "--keep-last", "1");
      expect(await listed(site)).toHaveLength(1);
    },
  );

  test("a send goes on beside a restore, and leaves what its settings would remove for the next one", async () => {
    const ini = readFileSync(site.ini, "utf8");
    writeFileSync(site.ini, ini.replace("[volumes]", "keep-last = 1\nprune-after-send = yes\n[volumes]"));
    const args = ["receive", volume, "--session", first, "--save-to", target(), "--force"];
    const ended = await heldUp(args, { counted: saving }, async () => {
      changeImage(site.image(volume), mib / 4, 52, size);
      const sent = await run(site, "send");
      expect(sent.stderr).toMatch(/reading the archive.*the next send prunes/);
      expect(await listed(site)).toHaveLength(3);
    });
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    changeImage(site.image(volume), mib / 4, 53, size);
    await run(site, "send");
    expect(await listed(site)).toHaveLength(1);
  });

  test("a reader beside a prune has status 6", async () => {
    const args = ["-u", "prune", "--keep-last", "1"];
    const ended = await heldUp(args, { counted: connecting }, async () => {
      for (const { args: reading } of readers()) {
        const refused = await site.sparsebak(reading);
        expect(refused.stderr).toMatch(/removing something from the archive/);
        expect(refused).toMatchObject({ code: 6 });
      }
    });
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
  });
});

describe("another host", () => {
  test.each([0, 1, 2])("reader %i: what it has removed meanwhile is not taken for damage", async (i) => {
    const { args, ...at } = readers()[i]!;
    const removed = await heldUp(args, at, async () => {
      const pruned = await site.sparsebak(["-u", "prune", "--keep-last", "1"], { ini: otherIni });
      expect(pruned, pruned.stderr).toMatchObject({ code: 0 });
    });
    expect(removed.stderr).toMatch(/another host has removed something from the archive while it was read/);
    expect(removed.stderr).not.toMatch(/damaged|is missing/);
    expect(removed).toMatchObject({ code: 1 });
    const again = await site.sparsebak(args);
    expect(again.stderr).toMatch(/no session|was pruned/);
  });

  test("damage is damage, whatever else it does meanwhile", async () => {
    const { args, ...at } = readers()[0]!;
    const damaged = await heldUp(args, at, async () => {
      rmSync(join(site.archive, volume, first, "000000000"), { recursive: true });
      changeImage(site.image(volume), mib / 4, 54, size);
      const sent = await site.sparsebak(["-u", "send", "--tag", "beside"], { ini: otherIni });
      expect(sent, sent.stderr).toMatchObject({ code: 0 });
    });
    expect(damaged.stderr).toMatch(/is missing|can't be read/);
    expect(damaged).toMatchObject({ code: 5 });
  });
});
