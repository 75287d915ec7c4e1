// A small sealed archive of everything that an archive can hold, made by the agent's own commands and a real receiver: two
// volumes of one group, some of their sessions tars, a change of the key slots, and a prune that leaves containers without
// a session, dead chunks in a tar, and later lists and manifests. Then a volume that is deleted, another prune and another
// change of slots, whose leavings wait in the trash, and a last session. With what the archive was after each step.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { openContext } from "../../dom0-agent/cli/run-context.ts";
import type { Output } from "../../dom0-agent/cli/output.ts";
import type { ArchiveSettings } from "../../dom0-agent/config/settings.ts";
import { noRetention } from "../../dom0-agent/config/retention.ts";
import { chooseArchive } from "../../dom0-agent/session/choose-volumes.ts";
import type { Context } from "../../dom0-agent/context.ts";
import { initArchive } from "../../dom0-agent/session/init.ts";
import { deleteVolumes } from "../../dom0-agent/session/delete.ts";
import { changeSlots } from "../../dom0-agent/session/key.ts";
import { prune } from "../../dom0-agent/session/prune.ts";
import { sendRun } from "../../dom0-agent/send/send-run.ts";
import { tempDir } from "./temp-dir.ts";

/** Files by their paths below the archive's directory. */
export type Tree = ReadonlyMap<string, Buffer>;

export interface SealedSample extends Disposable {
  readonly directory: string;
  /** The archive's. */
  readonly root: string;
  readonly context: Context;
  readonly settings: ArchiveSettings;
  readonly passphrase: string;
  /** The archive after each step; the last is as it is now. */
  readonly copies: readonly Tree[];
  image(volume: string): string;
}

export const sampleVolumes = ["one.img", "two.img"] as const;
const deletedVolume = "three.img";
const chunkBytes = 65_536;
const passphrase = "correct horse battery staple";

export async function makeSealedSample(): Promise<SealedSample> {
  const directory = tempDir();
  const at = (name: string): string => join(directory.path, name);
  const [images, drive, root] = [at("images"), at("drive"), at("drive/backups")];
  for (const each of [images, drive, at("dom0")]) mkdirSync(each);
  const keepFor = (days: number): void =>
    writeFileSync(at("receiver.ini"), `[receiver]\nplain-directories = ${drive}\ntrash-days = ${days}\n`);
  keepFor(0);
  writeFileSync(
    at("dom0/sparsebak.ini"),
    `[var]
localpath = ${images}
destvm = none
destmountpoint = ${drive}
destdir = backups
receiver-settings = ${at("receiver.ini")}
chunk-size = 64K
[groups]
all = *.img
[volumes]
${[...sampleVolumes, deletedVolume].map((each) => `${each} = enable\n`).join("")}`,
  );
  const options = {
    config: at("dom0/sparsebak.ini"),
    unattended: true,
    "accept-rollback": false,
    json: false,
  };
  const context = await openContext(options, silent, new AbortController().signal);
  const settings = chooseArchive(context.settings, undefined);
  const image = (volume: string): string => join(images, volume);
  const copies: Tree[] = [];
  const step = async (work: () => Promise<unknown>): Promise<void> => {
    await work();
    copies.push(readTree(root));
  };
  let sent = Date.UTC(2026, 10, 23, 10);
  const send = async (form: "dir" | "tar", contents: Readonly<Record<string, string>>): Promise<void> => {
    for (const [volume, content] of Object.entries(contents))
      writeFileSync(image(volume), Buffer.concat(content.split("").map(chunkOf)));
    sent += 60_000;
    const how = { form, committed: false, tags: [], startedAt: sent };
    const reason = await sendRun(context, [settings], Object.keys(contents), how, async () => "done");
    if (reason !== "done") throw new Error(`send: ${reason}`);
  };
  const [one, two] = sampleVolumes;
  const addSlot = async (its: string): Promise<unknown> =>
    changeSlots(context, settings, { kind: "add", passphrase: async () => its }, { logN: 10 });
  await step(async () => initArchive(context, settings, { kind: "none" }));
  await step(async () => send("dir", { [one]: "abcd.ea" }));
  await step(async () => send("tar", { [one]: "iecd.jk", [two]: "abf#.h", [deletedVolume]: "yz" }));
  await step(async () => addSlot(passphrase));
  await step(async () => send("dir", { [one]: "iecopjk", [two]: "abfl.mn" }));
  await step(async () => send("tar", { [two]: "abql.mr" }));
  const pruneTo = async (last: number): Promise<unknown> => {
    const request = { sessions: [], before: undefined, retention: { ...noRetention, last } };
    return prune(context, settings, { kind: "all" }, request, false);
  };
  await step(async () => pruneTo(2));
  keepFor(30);
  await step(async () => send("dir", { [one]: "secopxk" }));
  await step(async () => Array.fromAsync(deleteVolumes(context, settings, [deletedVolume])));
  await step(async () => pruneTo(1));
  await step(async () => addSlot(`another ${passphrase}`));
  await step(async () => send("tar", { [two]: "abqt.mr" }));
  return {
    directory: directory.path,
    root,
    context,
    settings,
    passphrase,
    copies,
    image,
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

/** A chunk for each letter; most of them are as long as each other when they are compressed. "." is a hole, and "#" does
 *  not shrink below a few blocks of a file system, so that a tar can give back its room. */
function chunkOf(letter: string): Buffer {
  if (letter === ".") return Buffer.alloc(chunkBytes);
  if (letter === "#")
    return Buffer.concat([createHash("shake256", { outputLength: 9000 }).digest()], chunkBytes);
  return Buffer.alloc(chunkBytes, `${letter} is what this chunk repeats\n`);
}

export function readTree(root: string): Tree {
  const names = readdirSync(root, { recursive: true, encoding: "utf8" }).toSorted();
  const files = names.filter((name) => statSync(join(root, name)).isFile());
  return new Map(files.map((name) => [name, readFileSync(join(root, name))]));
}

/** Writes files, or removes those that are undefined, for as long as `look` takes, and then puts back what is in `now`. */
export async function withChanges<T>(
  root: string,
  now: Tree,
  changes: ReadonlyMap<string, Uint8Array | undefined>,
  look: () => Promise<T>,
): Promise<T> {
  const put = (name: string, bytes: Uint8Array | undefined): void => {
    const path = join(root, name);
    if (bytes === undefined) return rmSync(path, { force: true });
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  };
  try {
    for (const [name, bytes] of changes) put(name, bytes);
    return await look();
  } finally {
    for (const name of changes.keys()) put(name, now.get(name));
  }
}

const nothing = (): void => undefined;
const silent: Output = {
  trace: nothing,
  line: nothing,
  clear: nothing,
  notice: nothing,
  warn: nothing,
  error: nothing,
  volume: nothing,
  progress: nothing,
};
