// The world of the model test: a site with two destinations behind one backup VM, and two hosts, each with images and
// a state of its own, which share the archives. All that is done goes through the built programs.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect } from "vitest";
import { type Random } from "../../fuzz/random.ts";
import { linesOf } from "../site-sessions.ts";
import { type Ended, makeSite, type RunOptions, sha256Of, type Site } from "../site.ts";
import { newImage } from "./images.ts";
import type { Ledger, Listing, ModelSession } from "./ledger.ts";

/** Volumes that there may be; the first two share chunks, and the third with them if it was called so once. */
export const names = ["vm-a-root", "vm-b-root", "work.img"] as const;
export const destinations = ["default", "usb"] as const;
export type Destination = (typeof destinations)[number];

export interface Host {
  readonly name: string;
  readonly ini: string;
  readonly images: string;
}

export interface World extends AsyncDisposable {
  readonly site: Site;
  readonly sealed: boolean;
  readonly hosts: readonly [Host, Host];
  readonly ledgers: Readonly<Record<Destination, Ledger>>;
  archive(of: Destination): string;
  run(host: Host, args: readonly string[], options?: RunOptions): Promise<Ended>;
  /** Runs it, and it must succeed. */
  must(host: Host, ...args: readonly string[]): Promise<Ended>;
  list(host: Host, of: Destination): Promise<Listing>;
  /** The SHA-256 of what spbk-assemble makes of a session. */
  assembled(of: Destination, session: ModelSession): Promise<string>;
  /** The SHA-256 of what `receive --save-to` does. */
  received(host: Host, of: Destination, session: ModelSession): Promise<string>;
  /** Until nothing of a call is left whose agent was killed. */
  settle(): Promise<void>;
}

/** The images that a host has, by name. */
export function imagesOf({ images }: Host): readonly string[] {
  return names.filter((name) => existsSync(join(images, name)));
}

/** A world in which the first host has sent once to each destination, and the second has joined. */
export async function makeWorld(sealed: boolean, random: Random): Promise<World> {
  const settings = ["chunk-size = 64K"];
  const volumes = names.slice(0, 2);
  const site = await makeSite({
    volumes,
    driveBytes: 256 * 1024 ** 2,
    settings,
    sealed: sealed ? "later" : false,
  });
  const off = sealed ? "" : "encryption = off\n";
  appendFileSync(
    site.ini,
    `[archive usb]\ndestvm = backup\ndestmountpoint = ${site.drive}\ndestdir = usb\nchunk-size = 64K\n${off}`,
  );
  const first: Host = { name: "first", ini: site.ini, images: site.images };
  const state = join(site.directory, "dom0-second");
  const second: Host = {
    name: "second",
    ini: join(state, "sparsebak.ini"),
    images: join(site.directory, "images-second"),
  };
  mkdirSync(state);
  mkdirSync(second.images);
  writeFileSync(second.ini, readFileSync(site.ini, "utf8").replace(site.images, second.images));
  for (const name of volumes) newImage(join(first.images, name), random);
  newImage(join(second.images, volumes[0] ?? ""), random);

  const form = (of: Destination): string => join(site.directory, `recovery-${of}`);
  const archive = (of: Destination): string => (of === "default" ? site.archive : join(site.drive, of));
  const run: World["run"] = async ({ ini }, args, options) =>
    site.sparsebak(["-u", ...args], { ...options, ini });
  const must: World["must"] = async (host, ...args) => {
    const ended = await run(host, args);
    expect(ended, `${host.name}: ${args.join(" ")}: ${ended.stdout}${ended.stderr}`).toMatchObject({
      code: 0,
    });
    return ended;
  };
  for (const of of sealed ? destinations : []) {
    await must(first, "--dest", of, "init", "--no-passphrase");
    const shown = await must(first, "--dest", of, "key", "--show-recovery");
    // The form itself are the last lines.
    writeFileSync(form(of), shown.stdout.split("\n").slice(-3).join("\n"), { mode: 0o600 });
    await must(second, "--dest", of, "init", "--join", "--passphrase-file", form(of));
  }
  if (!sealed) {
    await must(first, "--dest", "all", "send", volumes[0] ?? "");
    cpSync(join(site.state, "archives"), join(state, "archives"), { recursive: true });
  }
  const ledger = (): Ledger => ({ volumes: new Map(), sessions: new Map() });
  const ledgers = { default: ledger(), usb: ledger() };
  return {
    site,
    sealed,
    hosts: [first, second],
    ledgers,
    archive,
    run,
    must,
    list: async (host, of) => listingOf(await must(host, "--json", "--all", "--dest", of, "list")),
    assembled: async (of, { uid, volume }) => {
      const directory = join(archive(of), ledgers[of].volumes.get(volume)?.directory ?? "");
      const key = sealed ? ["--passphrase-file", form(of)] : [];
      return digestOf(site, [directory, ...key, "--session", uid, "-o", "-", "-q"]);
    },
    received: async (host, of, { uid, volume }) => {
      const output = join(site.directory, "received.img");
      const name = ledgers[of].volumes.get(volume)?.name ?? "";
      await must(host, "--dest", of, "receive", name, "--session", uid, "--save-to", output);
      const digest = sha256Of(output);
      rmSync(output);
      return digest;
    },
    settle: async () => {
      const alive = (pid: number): boolean => {
        const path = `/proc/${pid}/cmdline`;
        try {
          return readFileSync(path, "utf8").includes(site.lab.directory);
        } catch {
          return false;
        }
      };
      while (site.lab.calls().some(({ agent }) => alive(agent))) await setTimeout(10);
    },
    [Symbol.asyncDispose]: async () => site[Symbol.asyncDispose](),
  };
}

function listingOf(ended: Ended): Listing {
  const lines = linesOf(ended) as readonly (Record<string, unknown> &
    Omit<ModelSession, "digest"> & { readonly name: string; readonly directory: string })[];
  const volumes = lines
    .filter((each) => each["type"] === "volume")
    .map(({ name, uid, directory }) => ({ name, uid, directory }))
    .filter(({ name }) => lines.some((each) => each["type"] === "session" && each.volume === name));
  const uidOf = (name: string): string => volumes.find((each) => each.name === name)?.uid ?? "";
  const sessions = lines
    .filter((each) => each["type"] === "session")
    .map(({ uid, volume, sequence, tags, protected: is }) => ({
      uid,
      volume: uidOf(volume),
      sequence,
      tags,
      protected: is,
    }));
  return { volumes, sessions };
}

/** The SHA-256 of what spbk-assemble writes to its standard output. */
async function digestOf(site: Site, args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [site.program("spbk-assemble.mjs"), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const hash = createHash("sha256");
  let stderr = "";
  child.stdout.on("data", (bytes: Buffer) => hash.update(bytes));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const code = await new Promise((resolve, reject) => child.on("error", reject).on("close", resolve));
  expect(code, `spbk-assemble ${args.join(" ")}: ${stderr}`).toBe(0);
  return hash.digest("hex");
}
