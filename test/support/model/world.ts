// The world of the model test: two hosts, each with volumes and a state of its own, and two archives that they share. On
// what storage, and where, its makers decide (file-world.ts, test/lab/backup/thin-world.ts). All that is done goes through
// the built programs.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { fromRecoveryForm } from "../../../protocol/seal/recovery.ts";
import type { Random } from "../../fuzz/random.ts";
import { type NaiveArchive, readNaively } from "../naive-archive.ts";
import { linesOf } from "../site-sessions.ts";
import type { Ended } from "../site.ts";
import type { Ledger, Listing, ModelSession } from "./ledger.ts";
import { type NonceAudit } from "../nonce-audit.ts";

/** Volumes that there may be; the first two share chunks, and the third with them if it was called so once. */
export const names = ["vm-a-root", "vm-b-root", "vm-work-private"] as const;
/** Tags that a session may have. */
export const tags = ["t0", "t1", "t2"] as const;
export const destinations = ["default", "usb"] as const;
export type Destination = (typeof destinations)[number];

export interface Host {
  readonly name: string;
  /** The volumes that it has, in the order of `names`. */
  volumes(): readonly string[];
  /** The SHA-256 of each. */
  digests(volumes: readonly string[]): Promise<ReadonlyMap<string, string>>;
  make(volume: string, random: Random): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Does so many things to its volumes, by chance. Gives what was done. */
  change(times: number, random: Random): Promise<readonly string[]>;
}

/** Who dies right before the n-th thing that it does to the outside (kill-at.mjs). */
export interface Kill {
  readonly who: "agent" | "receiver";
  readonly at: number;
}

/** Commands that are killed. */
export type Killable = "send" | "prune" | "tag" | "rename" | "delete" | "monitor";
export type Things = Readonly<Record<Kill["who"], Readonly<Record<Killable, number>>>>;

/** About as many things as such a command does at least, where it has something to do: where kills are aimed. A send,
 *  for each destination; a monitor has no receiver. */
export const things: Things = {
  agent: { send: 100, prune: 60, tag: 17, rename: 17, delete: 45, monitor: 8 },
  receiver: { send: 45, prune: 30, tag: 23, rename: 23, delete: 50, monitor: 0 },
};

export interface World extends AsyncDisposable {
  readonly sealed: boolean;
  readonly things: Things;
  readonly hosts: readonly [Host, Host];
  readonly ledgers: Readonly<Record<Destination, Ledger>>;
  /** Salts and nonces of all that each archive has ever held. */
  readonly audits: Readonly<Record<Destination, NonceAudit>>;
  /** Runs sparsebak, unattended. When it comes back nothing of it runs any more, whoever was killed. */
  run(host: Host, args: readonly string[], kill?: Kill): Promise<Ended>;
  /** Runs shell text where the archives are; it must succeed. Gives its output. */
  shell(script: string): Promise<string>;
  /** An archive's directory, there. */
  place(of: Destination): string;
  /** Has `seen` show the archives as they are now. */
  look(): Promise<void>;
  /** The directory of an archive as it was at the last look. */
  seen(of: Destination): string;
  /** The path of the file with the recovery form of a sealed archive. */
  form(of: Destination): string;
  /** The path of the built spbk-assemble. */
  readonly assembler: string;
  /** Fails the test where a state, or the storage, holds what only a command under way may. */
  atRest(): Promise<void>;
  /** The names of sparsebak's snapshots of a host's volumes. */
  snapshots(host: Host): Promise<readonly string[]>;
}

/** Runs it, and it must succeed. */
export async function must(world: World, host: Host, ...args: readonly string[]): Promise<Ended> {
  const ended = await world.run(host, args);
  expect(ended, `${host.name}: ${args.join(" ")}: ${ended.stdout}${ended.stderr}`).toMatchObject({ code: 0 });
  return ended;
}

/** What the archive lists. */
export async function listingOf(world: World, host: Host, of: Destination): Promise<Listing> {
  const ended = await must(world, host, "--json", "--all", "--dest", of, "list");
  const lines = linesOf(ended) as readonly (Record<string, unknown> &
    Omit<ModelSession, "digest"> & { readonly name: string; readonly directory: string })[];
  const volumes = lines
    .filter((each) => each["type"] === "volume")
    .map(({ name, uid, directory }) => ({ name, uid, directory }))
    .filter(({ name }) => lines.some((each) => each["type"] === "session" && each.volume === name));
  const uidOf = (name: string): string => volumes.find((each) => each.name === name)?.uid ?? "";
  const sessions = lines
    .filter((each) => each["type"] === "session")
    .map(({ uid, volume, sequence, tags: marked, protected: is }) => ({
      uid,
      volume: uidOf(volume),
      sequence,
      tags: marked,
      protected: is,
    }));
  return { volumes, sessions };
}

/** The SHA-256 of what spbk-assemble makes of a session, of the archive as it was at the last look. */
export async function assembled(world: World, of: Destination, session: ModelSession): Promise<string> {
  const directory = world.ledgers[of].volumes.get(session.volume)?.directory ?? "";
  const path = join(world.seen(of), directory);
  const key = world.sealed ? ["--passphrase-file", world.form(of)] : [];
  const args = [path, ...key, "--session", session.uid, "-o", "-", "-q"];
  const child = spawn(process.execPath, [world.assembler, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const hash = createHash("sha256");
  let stderr = "";
  child.stdout.on("data", (bytes: Buffer) => hash.update(bytes));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const code = await new Promise((resolve, reject) => child.on("error", reject).on("close", resolve));
  expect(code, `spbk-assemble ${args.join(" ")}: ${stderr}`).toBe(0);
  return hash.digest("hex");
}

/** What lies in an archive as it was at the last look, read by the tests' own reader. */
export function readAll(world: World, of: Destination): NaiveArchive {
  const master = world.sealed ? fromRecoveryForm(readFileSync(world.form(of), "utf8")) : undefined;
  return readNaively(world.seen(of), master);
}

/** The SHA-256 of what `receive --save-to` makes of a session. */
export async function received(
  world: World,
  host: Host,
  of: Destination,
  session: ModelSession,
): Promise<string> {
  const output = `${world.place(of)}.received`;
  const name = world.ledgers[of].volumes.get(session.volume)?.name ?? "";
  await must(world, host, "--dest", of, "receive", name, "--session", session.uid, "--save-to", output);
  return (await world.shell(`sha256sum '${output}'; rm '${output}'`)).slice(0, 64);
}

/** The second host joins sealed archives that the first one makes, whose recovery forms are kept. */
export async function joinSealed(world: World): Promise<void> {
  const [first, second] = world.hosts;
  for (const of of destinations) {
    await must(world, first, "--dest", of, "init", "--no-passphrase");
    const shown = await must(world, first, "--dest", of, "key", "--show-recovery");
    // The form itself is the last line.
    writeFileSync(world.form(of), shown.stdout.split("\n").slice(-2).join("\n"), { mode: 0o600 });
    await must(world, second, "--dest", of, "init", "--join", "--passphrase-file", world.form(of));
  }
}

/** Finds what only a command under way may have in a state directory. */
export function findUnfinished(state: string): string {
  const unfinished = ["pending", "sending", "intent", "journal-*", "fresh", "reservation*", "*.new"];
  return `find '${state}' ${unfinished.map((each) => `-name '${each}'`).join(" -o ")}`;
}
