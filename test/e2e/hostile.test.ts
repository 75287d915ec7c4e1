// A backup VM that lies. Whatever it says, a command ends, in bounded time and memory, with the status and the words that
// are named here, prints nothing that a terminal would obey, and changes nothing of dom0's state; nothing appears
// outside of the archive, and with an honest receiver everything goes on (design sections 6 and 8).

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bases } from "../support/hostile/bases.ts";
import { expectDecent, expectGoesOn, locks, namesIn } from "../support/hostile/expectations.ts";
import { lies } from "../support/hostile/lies.ts";
import { contentsOf, type HostileSite, volume } from "../support/hostile/site.ts";

const send = ["send"];
const list = ["list", volume];
const assemble = ["assemble", volume];
const verify = ["verify", volume];
const diff = ["diff", volume];
const receive = ["receive", volume];
const check = ["check"];
const prune = ["prune", "--keep-last", "1"];

interface Case {
  readonly status: number;
  readonly says: RegExp;
  /** In what it prints as its result. */
  readonly prints?: RegExp;
  /** Commands that meet the lie. */
  readonly commands: readonly (readonly string[])[];
  /** In what state: with the map of the last session lost, with a session that was interrupted, or with the first of them
   *  pruned. */
  readonly from?: "lost" | "interrupted" | "pruned";
  /** What may differ afterwards: `nothing`, of state or archive; what the archive has of an unfinished session or image;
   *  that, and the intent, which dom0 writes down before it asks for a commit; `all` where the command has succeeded. */
  readonly changes: "nothing" | "archive" | "intent" | "all";
  /** The send has failed, and its session is there all the same: the next send takes it for what it is. */
  readonly commits?: true;
}

function met(by: Case["commands"], changes: Case["changes"], more: Pick<Case, "from" | "commits"> = {}) {
  return (status: number, says: RegExp): Case => ({ status, says, commands: by, changes, ...more });
}
/** Where the connection itself is at fault, one command stands for all. */
const greeting = met([send], "nothing");
/** Every command that reads what dom0 then believes. */
const reading = met([send, list], "nothing");
const sending = met([send], "archive");
/** The end of a send: the commit was asked for, and made. */
const committing = met([send], "intent", { commits: true });
const fetching = met([send], "archive", { from: "lost" });
const building = met([assemble], "archive");
const restoring = met([verify, receive, diff], "nothing");
const checking = met([check], "nothing");
const pruning = met([prune], "nothing");
/** The send that finds an interrupted one, and goes on whatever is said of it. */
const resuming = met([send], "all", { from: "interrupted" });
/** The send that ends at what is said of it. */
const leaving = met([send], "archive", { from: "interrupted" });
const harmless = met([send], "all");

/** What dom0 can't know, and prints with whose word it is. */
const claimed = (by: readonly string[], changes: Case["changes"], says: RegExp, prints: RegExp): Case => ({
  ...met([by], changes)(0, says),
  prints,
});

const stalled = /no progress for 5 s/;
const broken = (how: RegExp): RegExp => new RegExp(`broke the protocol: .*${how.source}`);
const orderly = (message: string): RegExp => broken(new RegExp(`${message} in state \\w+: `));

const impossible = (damage: string): RegExp =>
  broken(new RegExp(`damage: ${damage}, which this container can't have`));
const ownWord = /^sparsebak: that the stored bytes are there and right is the destination's own word; .*\n$/;
const besidesList = new RegExp(
  [
    /^sparsebak: warning: work\.img: list of S_[\d-]+: the receiver does not have it\n/,
    /sparsebak: error: work\.img: 0 of 3 sessions are damaged; each of them can be restored\n/,
    /sparsebak: that the stored bytes .*\n$/,
  ]
    .map((line) => line.source)
    .join(""),
);

const cases: Readonly<Record<string, Case>> = {
  "noise of 64 KiB": harmless(0, /^$/),
  "noise of 64 KiB and a byte": greeting(4, /read preamble: not sparsebak, or more than 65536 bytes/),
  "endless noise": greeting(4, /read preamble: not sparsebak, or more than 65536 bytes/),
  "no word": greeting(4, stalled),
  "a preamble and no word": greeting(4, stalled),
  "a preamble that stops in the middle": greeting(4, /ended by the other side \(exit code 0\)/),
  "refused with escape sequences": reading(4, /: not-allowed: \\x1b\[31m/),
  "refused with an unknown code": greeting(1, broken(/refused\.code: found 999/)),
  "hello with absurd free space": harmless(0, /^$/),
  "hello with a number above 2^53": greeting(1, broken(/an integer above 2\^53-1/)),
  "hello of a generation that never was": reading(5, /head \d+: the receiver does not have it/),
  "hello of an empty archive": reading(5, /found no archive .* wanted the one that this dom0 has sent/),
  "hello of another archive": reading(5, /found another archive .* wanted the one/),
  "hello of an archive out of nowhere": reading(5, /found another archive .* wanted the one/),
  "hello of an older head": reading(5, /found an older state/),
  "hello with another digest": reading(5, /head 4: it is not the one that was announced/),
  "hello twice": greeting(1, orderly("receiverHello")),
  "hello with another id": greeting(1, broken(/found request 2, wanted 1/)),
  "hello with a huge length": greeting(1, broken(/4294967295 bytes, at most 96/)),
  "hello with a byte too few": greeting(1, broken(/7 bytes left, 8 wanted/)),
  "hello of a type that is the agent's": greeting(1, broken(/type 10, which the receiver does not send/)),
  "hello of an unknown type": greeting(1, broken(/type 777/)),
  "hello with flags": greeting(1, broken(/unknown flags/)),

  "head missing": reading(5, /head 4: the receiver does not have it/),
  "head of an earlier generation": reading(5, /head 4: .*belongs to another generation/),
  "head altered": reading(5, /head 4: .*digest does not fit/),
  "head forged, and announced so": reading(5, /head 4: .*authentication code does not fit/),
  "head of a million generations": reading(5, /authentication code does not fit/),
  "head cut short": reading(1, broken(/bytes in its answer, wanted 100/)),
  "head cut short, and counted so": reading(5, /head 4: /),
  "head in two halves, swapped": reading(5, /head 4: not a file of an archive/),
  "head said twice": greeting(1, orderly("done")),
  "nothing but done": reading(5, /head 4: .*0 bytes left/),
  "done with another count": greeting(1, broken(/bytes in its answer, wanted/)),
  "done with another id": greeting(1, broken(/found request 3, wanted 2/)),
  "endless head": greeting(1, broken(/head: more than \d+ bytes/)),
  "endless head of small pieces": met([send], "nothing")(1, broken(/head: more than \d+ bytes/)),
  "endless head of empty pieces": greeting(1, broken(/head: no data/)),
  "endless archive header": reading(1, broken(/archive: more than 4096 bytes/)),
  "endless index": reading(1, broken(/index: more than \d+ bytes/)),
  "endless manifest": fetching(1, broken(/manifest: more than \d+ bytes/)),
  "an archive that is sealed otherwise": reading(5, /authentication code does not fit/),
  "archive header altered": met([send], "nothing")(5, /archive header: /),
  "archive header with another code": met([send], "nothing")(5, /archive header: it is not the one/),
  "index missing": reading(5, /index\.4 of \S+: the receiver does not have it/),
  "index of an earlier generation": reading(5, /index\.4 of \S+: it is not the one that the head names/),
  "index altered": reading(5, /index\.4 of \S+: it is not the one that the head names/),
  "a head in place of an index": reading(5, /index\.4 of \S+: it is not the one/),
  "manifest altered": fetching(5, /manifest\.2 of S_[\d-]+: it is not the one that the index names/),
  "manifest of another session": met([verify, receive], "nothing")(
    5,
    /manifest\.\d of S_[\d-]+: it is not the one/,
  ),
  "manifest of an earlier generation": met([verify, receive], "nothing", { from: "pruned" })(
    5,
    /manifest\.5 of S_[\d-]+: it is not the one that the index names/,
  ),
  "heartbeats without progress": greeting(4, stalled),
  "progress of what was never asked for": greeting(4, stalled),
  "a flood of heartbeats": greeting(4, stalled),
  "aborted with escape sequences": reading(1, /internal: \\x1b\[31m/),
  "a chunk in place of a head": greeting(1, orderly("stored")),
  "a checkpoint in place of a head": greeting(1, orderly("checkpoint")),
  "committed in place of a head": greeting(1, orderly("committed")),
  "the end in the middle of a frame": greeting(4, /ended by the other side/),
  "the end, and an exit code that means success": greeting(4, /ended by the other side \(exit code 0\)/),
  "a flood on stderr, then death": greeting(4, /exit code 3\); this machine printed: ….*\\x1b\[31m/),
  "a hundred thousand pending": met([send], "nothing")(1, broken(/more than 4096 unfinished/)),
  "pending, one after the other": met([send], "nothing")(4, stalled),
  "pending where a path leads out": met([send], "nothing")(1, broken(/directory/)),
  "pending with a name to obey": met([send], "nothing")(1, broken(/directory/)),
  "pending that is committed": harmless(0, /an unfinished session of an earlier run is removed/),

  "a session refused with a code of integrity": sending(5, /: corrupt: \\x1b\[31m/),
  "a session that is begun twice": sending(1, orderly("done")),
  "a checkpoint of more than was sent": harmless(0, /^$/),
  "progress of more than was sent": harmless(0, /^$/),
  "committed in the middle of a session": sending(1, orderly("committed")),
  "a session given up with escape sequences": sending(4, /no-space: \\x1b\[31m/),
  "a put that took another count": sending(1, broken(/put manifest: 1 bytes in its answer, wanted/)),
  "a put refused before it has come": sending(1, orderly("refused")),
  "a put done before it has come": sending(1, /broke the protocol: |malformed: part/),
  "a chunk that is lost on its way": sending(1, /malformed/),
  "a chunk that is altered on its way": sending(1, /malformed/),
  "a session's end that never comes": sending(4, stalled),
  "an end with another count": sending(1, broken(/endSession: 12345 bytes in its answer, wanted 0/)),
  "committed another generation": committing(5, /says that it made generation 6, wanted 5/),
  "committed another head": committing(5, /says that it made another head of generation 5/),
  "committed, and not a word of it": committing(4, stalled),
  "committed, and refused": committing(5, /: stale: \\x1b\[31m/),
  "committed twice": {
    ...met([send], "all")(1, orderly("committed")),
    prints: /^work\.img: compared, S_/,
  },
  "not committed, and not a word of it": met([send], "intent")(4, stalled),
  "no end behind goodbye": harmless(0, /^$/),
  "a flood behind goodbye": harmless(0, /^$/),
  "an exit code of failure behind goodbye": harmless(0, /^$/),
  "an image of another size": building(5, /the VM says 1 bytes, wanted/),
  "an image that was never built": claimed(
    assemble,
    "nothing",
    /^$|the VM is given its read key/,
    /^work\.img: by the destination's own word: S_[\d-]+, 1\.50 MiB, SHA-256 (?:09){32}, in \S+\n$/,
  ),
  "an image that is never finished": building(4, stalled),

  "chunks of the same size that change places": restoring(5, /checksum/),
  "chunks in another order": restoring(1, broken(/a chunk at \d+, wanted/)),
  "a chunk too few": restoring(1, broken(/a chunk at \d+, wanted/)),
  "a chunk too many": restoring(1, broken(/wanted no more of them/)),
  "a chunk altered": restoring(5, /checksum/),
  "a chunk cut short": restoring(5, /stored bytes, wanted/),
  "a chunk that grows": restoring(5, /4000000 stored bytes, wanted/),
  "a chunk that is not there": restoring(5, /is missing/),
  "a chunk of another address": restoring(1, broken(/a chunk at \d+, wanted/)),
  "no container": restoring(5, /can't be read: .*missing: \\x1b/),
  "chunks without end": restoring(1, broken(/a chunk at 0, wanted/)),
  "chunks, and not a word more": restoring(4, stalled),
  "chunks counted otherwise": restoring(1, broken(/readChunks: \d+ bytes in its answer, wanted/)),
  "header altered": met([verify], "nothing")(5, /header of S_[\d-]+: it is not the one that the index names/),
  "endless header": met([verify], "nothing")(1, broken(/header: more than \d+ bytes/)),

  "left: chunks that were never sent": met([send], "intent", { from: "interrupted" })(
    1,
    /: malformed: the list of/,
  ),
  "left: chunks with another checksum": resuming(0, /nothing of use/),
  "left: a list without end": leaving(1, broken(/salvage: more than \d+ bytes/)),
  "left: under the name of another session": leaving(1, /twice/),
  "left: nothing of use, and a discard that never ends": leaving(4, stalled),
  "left: by another uid": resuming(0, /an unfinished session of an earlier run is removed/),

  "damages without end": checking(1, broken(/more than 65536 damages/)),
  "damages of what was never there": checking(1, impossible("corrupt chunk 562949953421312")),
  "damages of another container": checking(1, impossible("corrupt other 0")),
  "damages of a tar, in a directory": checking(1, impossible("missing offsets 0")),
  "a chunk that counts, called extra": checking(1, impossible("extra chunk 327680")),
  "a list that counts, called stale": checking(1, impossible("stale list 0")),
  "damages of what is right": claimed(
    check,
    "nothing",
    ownWord,
    /^work\.img: 3 sessions, nothing is damaged\n$/,
  ),
  "damages of what is right, and no list": checking(5, besidesList),
  "a scrub that never ends": checking(4, stalled),
  "list altered": pruning(5, /list of S_[\d-]+: /),
  "a scrub of the rest that never ends": checking(4, stalled),
  "a sweep that never ends": met([prune], "all")(4, stalled),
  "chunks that are missing, one after the other": met([verify], "nothing")(4, stalled),
  "damages, one after the other": checking(4, stalled),
  "endless list": met([prune, check], "nothing")(1, broken(/list: more than \d+ bytes/)),
  "an older head said to be missing": met([prune], "all")(0, /^$/),
  "a sweep that freed everything there is": claimed(
    prune,
    "all",
    /^$/,
    /^default: 8\.00 PiB given back to the file system, by the destination's own word$/m,
  ),

  "another archive": reading(5, /found another archive .* wanted the one/),
  "another archive by the uuid of this one": reading(5, /head 3: .*belongs to another archive/),
  "another archive's head": reading(5, /head 4: .*another archive/),
  "another archive's archive header": met([send], "nothing")(5, /archive header: it is not the one/),
  "another archive's index": reading(5, /index\.4 of \S+: it is not the one that the head names/),
  "another archive's header": met([verify], "nothing")(5, /header of S_[\d-]+: it is not the one/),
  "another archive's manifest": fetching(5, /manifest\.\d of S_[\d-]+: it is not the one/),
  "another archive's list": met([prune, check], "nothing")(5, /list of S_[\d-]+: /),
  "another archive's chunks": restoring(5, /checksum|stored bytes/),
};

/** Told in hostile-situations.test.ts. */
const special = [
  "not committed, and said to be",
  "as many extras as there may be, of every container",
  "manifests that can't be read, for whoever reads only",
  "manifests that can't be read, once something was put back",
  "chunks that are lost as often as they are put back",
];

/** What a sealed archive is asked for otherwise. */
const whereSealed: ReadonlyMap<readonly string[], readonly string[]> = new Map([
  [assemble, [...assemble, "--reveal"]],
]);

/** Lies that put something else in the place of what is stored: these are told to an unsealed archive as well, where other
 *  codes and digests have to find them out. */
const aboutStored =
  /altered|forged|another archive's|sealed otherwise|change places|left: ch|counted so|of an earlier|of another session/;
const told = (lie: string): boolean => everything || aboutStored.test(lie);
const everything = process.env["SPARSEBAK_HOSTILE_ALL"] !== undefined;

/** Each kind of archive: with three sessions, and with a fourth that was interrupted. */
interface Kind extends Disposable {
  readonly known: HostileSite;
  readonly interrupted: HostileSite;
}
let unsealed: Kind;
let sealed: Kind;

async function kind(encryption: "on" | "off"): Promise<Kind> {
  const made = await bases(encryption);
  const interrupted = made.known.copy();
  interrupted.stallAfter(5);
  await interrupted.run(send, "a session's end that never comes");
  return {
    known: made.known,
    interrupted,
    [Symbol.dispose]: () => {
      for (const each of [made, interrupted]) each[Symbol.dispose]();
    },
  };
}

beforeAll(async () => {
  [unsealed, sealed] = await Promise.all([kind("off"), kind("on")]);
});
afterAll(() => {
  for (const each of [unsealed, sealed]) each[Symbol.dispose]();
});

test("every lie is told", () => {
  expect([...Object.keys(cases), ...special].sort()).toEqual(Object.keys(lies).sort());
});

/** Everything but the archive, dom0's state, and the programs: the images above all. */
function elsewhere(site: HostileSite): unknown {
  return Object.entries(contentsOf(site.directory)).filter(
    ([path]) => !/^(?:drive\/backups|dom0|lib)\//.test(path),
  );
}

/** dom0's state. Locks hold nothing; a send that was cut short leaves its journal, so that the next one goes on from
 *  there; what was lost before is made again. */
function stateOf(site: HostileSite, { changes, from }: Case): Record<string, string> {
  const state = contentsOf(site.state);
  const intent = join("archives", "default", "intent");
  if (changes === "intent") expect(state[intent]).toBeDefined();
  const ignored = [
    locks,
    ...(changes === "nothing" ? [] : [/\/journal-/]),
    ...(changes === "intent" ? [/\/intent$/] : []),
    // What goes on from there may leave chunks for the next prune to look at.
    ...(from === undefined ? [] : [/\/volumes\//, /\/unfinished$/]),
  ];
  return Object.fromEntries(
    Object.entries(state).filter(([path]) => !ignored.some((each) => each.test(path))),
  );
}

async function meets(base: HostileSite, lie: string, expected: Case): Promise<void> {
  using site = base.copy();
  if (expected.from === "lost") site.forget();
  if (expected.from === "pruned") await site.must("prune", "--keep-last", "2");
  if (expected.says === stalled) site.stallAfter(5);
  const state = stateOf(site, { ...expected, changes: "archive" });
  const archive = contentsOf(site.archive);
  const names = namesIn(site);
  const rest = elsewhere(site);
  for (const command of expected.commands) {
    const ended = await site.run(command, lie);
    const shown = `${command.join(" ")}: ${ended.stderr}${ended.stdout}`;
    expect(ended.stderr, shown).toMatch(expected.says);
    expect(ended, shown).toMatchObject({ code: expected.status });
    if (expected.prints !== undefined) expect(ended.stdout, shown).toMatch(expected.prints);
    if (command === send) {
      const [session] = /S_\d{8}-\d{6}/.exec(ended.stdout) ?? [];
      expect(session !== undefined, shown).toBe(expected.status === 0 || expected.prints !== undefined);
      if (session !== undefined) site.note(session);
    }
    await expectDecent(ended, site);
    expect(elsewhere(site)).toEqual(rest);
    if (expected.changes !== "all") expect(stateOf(site, expected)).toEqual(state);
    // Where nothing differs at all, what goes on from here has been shown.
    if (expected.changes === "nothing") expect(contentsOf(site.archive)).toEqual(archive);
  }
  if (expected.changes === "nothing") return;
  if (expected.commits === true) {
    const made = namesIn(site).filter((name) => !names.includes(name));
    expect(made).toHaveLength(1);
    for (const session of made) site.note(session);
  }
  site.stallAfter(60);
  if (expected.commands.includes(prune))
    for (const session of [...site.sessions.keys()].slice(0, -1)) site.sessions.delete(session);
  await expectGoesOn(site);
}

const all = Object.entries(cases);

describe("a sealed archive", () => {
  test.concurrent.each(all)("%s", async (lie, expected) => {
    const commands = expected.commands.map((each) => whereSealed.get(each) ?? each);
    await meets(expected.from === "interrupted" ? sealed.interrupted : sealed.known, lie, {
      ...expected,
      commands,
    });
  });
});

describe("an unsealed archive", () => {
  test.concurrent.each(all.filter(([lie]) => told(lie)))("%s", async (lie, expected) =>
    meets(expected.from === "interrupted" ? unsealed.interrupted : unsealed.known, lie, expected),
  );
});
