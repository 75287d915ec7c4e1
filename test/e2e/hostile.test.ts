// A backup VM that lies. Whatever it says, a command ends, in bounded time and memory, with the status and the words that
// are named here, prints nothing that a terminal would obey, and changes nothing of dom0's state; nothing appears
// outside of the archive, and with an honest receiver everything goes on (design sections 6 and 8).

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lies } from "../support/hostile/lies.ts";
import {
  contentsOf,
  type Ended,
  hostileSite,
  type HostileSite,
  processesOf,
  volume,
} from "../support/hostile/site.ts";

/** Bytes: the agent's bound of section 9 and what a Node takes by itself. */
const memoryBound = 400_000_000;

const send = ["send"];
const list = ["list", volume];
const assemble = ["assemble", volume];

interface Case {
  readonly status: number;
  readonly says: RegExp;
  /** Commands that meet the lie. */
  readonly commands: readonly (readonly string[])[];
  /** What dom0 has lost before: the map of the last session. */
  readonly lost?: boolean;
  /** What may differ afterwards: `nothing`, of state or archive; what the archive has of an unfinished session; that, and
   *  the intent, which dom0 writes down before it asks for a commit; `all` where the command has succeeded. */
  readonly changes: "nothing" | "archive" | "intent" | "all";
}

function met(by: readonly (readonly string[])[], changes: Case["changes"], lost = false) {
  return (status: number, says: RegExp): Case => ({ status, says, commands: by, changes, lost });
}
/** Every command that greets the receiver and reads. */
const reading = met([send, list], "nothing");
const sending = met([send], "archive");
/** The end of a send: the commit was asked for. */
const committing = met([send], "intent");
const fetching = met([send], "archive", true);
const building = met([assemble], "nothing");
const harmless = met([send], "all");

const stalled = /no progress for 5 s/;
const broken = (how: RegExp): RegExp => new RegExp(`broke the protocol: .*${how.source}`);
const orderly = (message: string): RegExp => broken(new RegExp(`${message} in state \\w+: `));

const cases: Readonly<Record<string, Case>> = {
  "noise of 64 KiB": harmless(0, /^$/),
  "noise of 64 KiB and a byte": reading(4, /read preamble: not sparsebak, or more than 65536 bytes/),
  "endless noise": reading(4, /read preamble: not sparsebak, or more than 65536 bytes/),
  "no word": reading(4, stalled),
  "a preamble and no word": reading(4, stalled),
  "a preamble that stops in the middle": reading(4, /ended by the other side \(exit code 0\)/),
  "refused with escape sequences": reading(4, /agentHello: not-allowed: \\x1b\[31m/),
  "refused with an unknown code": reading(1, broken(/refused\.code: found 999/)),
  "hello with absurd free space": harmless(0, /^$/),
  "hello with a number above 2^53": reading(1, broken(/an integer above 2\^53-1/)),
  "hello of a generation that never was": reading(5, /announced it and does not have it/),
  "hello of an empty archive": reading(5, /found no archive .* wanted the one that this dom0 has sent/),
  "hello of another archive": reading(5, /found another archive .* wanted the one/),
  "hello of an older head": reading(5, /found an older state/),
  "hello with another digest": reading(5, /head 4: it is not the one that was announced/),
  "hello twice": reading(1, orderly("receiverHello")),
  "hello with another id": reading(1, broken(/found request 2, wanted 1/)),
  "hello with a huge length": reading(1, broken(/4294967295 bytes, at most 96/)),
  "hello with a byte too few": reading(1, broken(/7 bytes left, 8 wanted/)),
  "hello of a type that is the agent's": reading(1, broken(/type 10, which the receiver does not send/)),
  "hello of an unknown type": reading(1, broken(/type 777/)),
  "hello with flags": reading(1, broken(/unknown flags/)),

  "head missing": reading(5, /head 4: the receiver announced it and does not have it/),
  "head of an earlier generation": reading(5, /head 4: .*belongs to another generation/),
  "head altered": reading(5, /head 4: .*digest does not fit/),
  "head forged, and announced so": reading(5, /head 4: .*authentication code does not fit/),
  "head of a million generations": reading(5, /authentication code does not fit/),
  "head cut short": reading(1, broken(/bytes in its answer, wanted 100/)),
  "head cut short, and counted so": reading(5, /head 4: /),
  "head in two halves, swapped": reading(5, /head 4: not a file of an archive/),
  "head said twice": reading(1, orderly("done")),
  "nothing but done": reading(5, /head 4: .*0 bytes left/),
  "done with another count": reading(1, broken(/bytes in its answer, wanted/)),
  "done with another id": reading(1, broken(/found request 3, wanted 2/)),
  "endless head": reading(1, broken(/head: more than \d+ bytes/)),
  "endless head of small pieces": met([send], "nothing")(1, broken(/head: more than \d+ bytes/)),
  "endless head of empty pieces": reading(1, broken(/head: no data/)),
  "endless archive header": reading(1, broken(/archive: more than 4096 bytes/)),
  "endless index": reading(1, broken(/index: more than \d+ bytes/)),
  "endless manifest": fetching(1, broken(/manifest: more than \d+ bytes/)),
  "archive header altered": reading(5, /archive header: /),
  "archive header with another code": reading(5, /archive header: it is not the one/),
  "index missing": reading(5, /index\.4 of work\.img: the receiver does not have it/),
  "index of an earlier generation": reading(
    5,
    /index\.4 of work\.img: it is not the one that the head names/,
  ),
  "index altered": reading(5, /index\.4 of work\.img: it is not the one that the head names/),
  "a head in place of an index": reading(5, /index\.4 of work\.img: it is not the one/),
  "manifest of another session": fetching(
    5,
    /manifest\.2 of S_[\d-]+: it is not the one that the index names/,
  ),
  "heartbeats without progress": reading(4, stalled),
  "progress of what was never asked for": reading(4, stalled),
  "a flood of heartbeats": reading(4, stalled),
  "aborted with escape sequences": reading(1, /internal: \\x1b\[31m/),
  "a chunk in place of a head": reading(1, orderly("stored")),
  "a checkpoint in place of a head": reading(1, orderly("checkpoint")),
  "committed in place of a head": reading(1, orderly("committed")),
  "the end in the middle of a frame": reading(4, /ended by the other side/),
  "the end, and an exit code that means success": reading(4, /ended by the other side \(exit code 0\)/),
  "a flood on stderr, then death": reading(4, /exit code 3\); this machine printed: ….*\\x1b\[31m/),
  "a hundred thousand pending": met([send], "nothing")(1, broken(/more than 4096 unfinished/)),
  "pending where a path leads out": met([send], "nothing")(1, broken(/directory/)),
  "pending with a name to obey": met([send], "nothing")(1, broken(/directory/)),
  "pending that is committed": met([send], "nothing")(1, /there is no uncommitted session/),

  "a session refused with a code of integrity": sending(5, /beginSession: corrupt: \\x1b\[31m/),
  "a session that is begun twice": sending(1, orderly("done")),
  "a checkpoint of more than was sent": harmless(0, /^$/),
  "progress of more than was sent": harmless(0, /^$/),
  "committed in the middle of a session": sending(1, orderly("committed")),
  "a session given up with escape sequences": sending(4, /no-space: \\x1b\[31m/),
  "a put that took another count": sending(1, broken(/put manifest: 1 bytes in its answer, wanted/)),
  "a chunk that is lost on its way": sending(1, /malformed/),
  "a chunk that is altered on its way": sending(1, /malformed/),
  "a session's end that never comes": sending(4, stalled),
  "an end with another count": sending(1, broken(/endSession: 12345 bytes in its answer, wanted 0/)),
  "committed another generation": committing(5, /says that it made generation 6, wanted 5/),
  "committed another head": committing(5, /says that it made another head of generation 5/),
  "committed, and not a word of it": committing(4, stalled),
  "committed, and refused": committing(5, /commit: stale: \\x1b\[31m/),
  "committed twice": met([send], "all")(1, orderly("committed")),
  "not committed, and not a word of it": committing(4, stalled),
  "no end behind goodbye": harmless(0, /^$/),
  "a flood behind goodbye": harmless(0, /^$/),
  "an exit code of failure behind goodbye": harmless(0, /^$/),
  "an image of another size": building(5, /the VM says 1 bytes, wanted/),
  "an image that is never finished": building(4, stalled),
};

const special = ["not committed, and said to be"];

let known: HostileSite;
let first: HostileSite;
beforeAll(async () => {
  first = hostileSite();
  known = first.copy();
  await known.send();
  known.change(1);
  await known.send("--tarfile");
  known.change(2);
  await known.send();
  known.change(3);
});
afterAll(() => {
  known[Symbol.dispose]();
  first[Symbol.dispose]();
});

test("every lie is told here", () => {
  expect([...Object.keys(cases), ...special].sort()).toEqual(Object.keys(lies).sort());
});

/** What holds whatever was said. */
function expectDecent(ended: Ended, site: HostileSite): void {
  expect(ended.code, "it had to be killed").not.toBeNull();
  expect(ended.stderr + ended.stdout).not.toMatch(/[^\P{C}\n]|[\u2028\u2029]/u);
  expect(ended.stderr.length).toBeLessThan(20_000);
  expect(ended.peakBytes).toBeLessThan(memoryBound);
  expect(processesOf(site)).toBe("");
}

/** With an honest receiver the next send works, and every session is what it was. */
async function expectGoesOn(site: HostileSite): Promise<void> {
  await site.send();
  expect(await site.differing()).toEqual([]);
  expect(Object.keys(contentsOf(site.state)).filter((path) => /intent|fetched/.test(path))).toEqual([]);
}

/** Everything but the archive and dom0's state. */
function elsewhere(site: HostileSite): unknown {
  const ours = new Set(["dom0", "lib"]);
  return Object.entries(contentsOf(site.directory)).filter(
    ([path]) => !path.startsWith("drive/backups/") && !ours.has(path.split("/")[0] ?? ""),
  );
}

describe("an archive that dom0 knows", () => {
  test.concurrent.each(Object.entries(cases))(
    "%s",
    async (lie, { commands, status, says, lost, changes }) => {
      using site = known.copy();
      if (lost === true) site.forget();
      const before = {
        state: contentsOf(site.state),
        archive: contentsOf(site.archive),
        rest: elsewhere(site),
      };
      for (const command of commands) {
        const ended = await site.run(command, lie);
        expect.soft(ended, `${command.join(" ")}: ${ended.stderr}`).toMatchObject({ code: status });
        expect.soft(ended.stderr).toMatch(says);
        expectDecent(ended, site);
        expect(elsewhere(site)).toEqual(before.rest);
        const state = contentsOf(site.state);
        if (changes === "intent") {
          const intent = join("archives", "default", "intent");
          expect(state[intent]).toBeDefined();
          delete state[intent];
        }
        if (changes !== "all") expect(state).toEqual(before.state);
        // Nothing differs at all, then: what goes on from here has been shown.
        if (changes === "nothing") expect(contentsOf(site.archive)).toEqual(before.archive);
      }
      if (changes !== "nothing") await expectGoesOn(site);
    },
  );

  test("a commit that never was is found out by the next command, and nothing is sent on top of it", async () => {
    using site = known.copy();
    const ended = await site.run(send, "not committed, and said to be");
    expect(ended).toMatchObject({ code: 0 });
    expectDecent(ended, site);
    const after = await site.run(list);
    expect(after, after.stderr).toMatchObject({ code: 5 });
    expect(after.stderr).toMatch(/found an older state \(generation 4\), wanted generation 5/);
    expect((await site.run(send)).code).toBe(5);
    expect(await site.differing()).toEqual([]);
  });

  test("status asks nobody", async () => {
    using site = known.copy();
    const ended = await site.run(["status"], "no word");
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    expect(ended.stdout).toMatch(/work\.img/);
  });
});

describe("an archive that dom0 does not know", () => {
  test.concurrent.each([
    ["head forged, and announced so", 5],
    ["no word", 4],
    ["a put that took another count", 1],
    ["committed another generation", 5],
    ["committed another head", 5],
    ["committed, and not a word of it", 4],
    ["not committed, and not a word of it", 4],
  ])("%s", async (lie, status) => {
    using site = first.copy();
    const ended = await site.run(send, lie);
    expect(ended, ended.stderr).toMatchObject({ code: status });
    expectDecent(ended, site);
    await expectGoesOn(site);
    expect(readdirSync(join(site.archive, volume)).filter((name) => name.startsWith("S_"))).toHaveLength(1);
  });
});
