// The model test's world on file storage: image files of two hosts, and two destinations behind one backup VM.

import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect } from "vitest";
import type { Random } from "../../fuzz/random.ts";
import { makeSite, sha256Of, type Site } from "../site.ts";
import { changeAtRandom, newImage } from "./images.ts";
import type { Ledger } from "./ledger.ts";
import {
  type Destination,
  findUnfinished,
  type Host,
  joinSealed,
  must,
  names,
  things,
  type World,
} from "./world.ts";
import { nonceAudit } from "../nonce-audit.ts";

interface FileHost extends Host {
  readonly ini: string;
}

/** A world in which the second host has joined the archives of the first. */
export async function makeFileWorld(sealed: boolean, random: Random): Promise<World> {
  const volumes = names.slice(0, 2);
  const site = await makeSite({
    volumes,
    driveBytes: 256 * 1024 ** 2,
    settings: ["chunk-size = 64K"],
    sealed: sealed ? "later" : false,
  });
  const off = sealed ? "" : "encryption = off\n";
  appendFileSync(
    site.ini,
    `[archive usb]\ndestvm = backup\ndestmountpoint = ${site.drive}\ndestdir = usb\nchunk-size = 64K\n${off}`,
  );
  const states = [site.state, join(site.directory, "dom0-second")] as const;
  const images = [site.images, join(site.directory, "images-second")] as const;
  mkdirSync(states[1]);
  mkdirSync(images[1]);
  const secondIni = join(states[1], "sparsebak.ini");
  writeFileSync(secondIni, readFileSync(site.ini, "utf8").replace(images[0], images[1]));
  const hosts = [hostOf("first", site.ini, images[0]), hostOf("second", secondIni, images[1])] as const;
  for (const name of volumes) newImage(join(images[0], name), random);
  newImage(join(images[1], volumes[0] ?? ""), random);

  const form = (of: Destination): string => join(site.directory, `recovery-${of}`);
  const place: World["place"] = (of) => (of === "default" ? site.archive : join(site.drive, of));
  const shell: World["shell"] = async (script) => {
    const done = spawnSync("sh", ["-e", "-c", script], { encoding: "utf8" });
    expect(done.status, `${script}: ${done.stderr}`).toBe(0);
    return done.stdout;
  };
  const ledger = (): Ledger => ({ volumes: new Map(), sessions: new Map() });
  const world: World = {
    sealed,
    things,
    hosts,
    ledgers: { default: ledger(), usb: ledger() },
    audits: { default: nonceAudit(), usb: nonceAudit() },
    run: async (host, args, kill) => {
      if (kill?.who === "receiver") site.killReceiverAt(kill.at);
      const options = { ini: (host as FileHost).ini, ...(kill?.who === "agent" ? { killAt: kill.at } : {}) };
      const ended = await site.sparsebak(["-u", ...args], options);
      if (kill?.who === "receiver") site.killReceiverAt(undefined);
      if (kill !== undefined) await settle(site);
      return ended;
    },
    shell,
    place,
    look: async () => {},
    seen: place,
    form,
    assembler: site.program("spbk-assemble.mjs"),
    atRest: async () => {
      for (const state of states) expect(await shell(findUnfinished(state))).toBe("");
    },
    snapshots: async () => [],
    [Symbol.asyncDispose]: async () => site[Symbol.asyncDispose](),
  };
  if (sealed) {
    await joinSealed(world);
  } else {
    await must(world, hosts[0], "--dest", "all", "send", volumes[0] ?? "");
    cpSync(join(states[0], "archives"), join(states[1], "archives"), { recursive: true });
  }
  return world;
}

function hostOf(name: string, ini: string, images: string): FileHost {
  const path = (volume: string): string => join(images, volume);
  const volumes: Host["volumes"] = () => names.filter((each) => existsSync(path(each)));
  return {
    name,
    ini,
    volumes,
    digests: async (of) => new Map(of.map((each) => [each, sha256Of(path(each))])),
    make: async (volume, random) => newImage(path(volume), random),
    rename: async (from, to) => renameSync(path(from), path(to)),
    change: async (times, random) =>
      Array.from({ length: times }, () => {
        const [one, other] = [random.pick(volumes()), random.pick(volumes())];
        return changeAtRandom(path(one), path(other), random);
      }),
  };
}

/** Until nothing of a call is left whose agent was killed. */
async function settle(site: Site): Promise<void> {
  const alive = (pid: number): boolean => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(site.lab.directory);
    } catch {
      return false;
    }
  };
  while (site.lab.calls().some(({ agent }) => alive(agent))) await setTimeout(10);
}
