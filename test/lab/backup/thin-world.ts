// The model test's world on thin volumes: a guest with a volume group for each of two hosts and a drive with both archives,
// mounted in dom0 (destvm = none). Commands run in the guest; what they leave in the archives is looked at here, in a
// copy, with spbk-assemble at this machine's speed.

import { nonceAudit } from "../../support/nonce-audit.ts";
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import type { Random } from "../../fuzz/random.ts";
import type { Ledger } from "../../support/model/ledger.ts";
import {
  type Destination,
  findUnfinished,
  joinSealed,
  must,
  names,
  things,
  type World,
} from "../../support/model/world.ts";
import { guestNode, projectRoot } from "../lab.ts";
import { startGuest } from "../live-guest.ts";
import { type ThinHost, thinHost } from "./thin-volumes.ts";

const lib = "/opt/sparsebak/lib";
const drive = "/mnt/volume";
const groups = ["qubes_dom0", "qubes_two"] as const;
const states = ["/dom0-first", "/dom0-second"] as const;
const directories: Readonly<Record<Destination, string>> = { default: "backups", usb: "usb" };
/** Where the receiver's next run is to die: a number in a file, since the agent gives its child nothing of its own. */
const killReceiver = "/run/kill-receiver-at";

/** A world in which the second host has joined the archives of the first. */
export async function makeThinWorld(sealed: boolean, random: Random): Promise<World> {
  const guest = await startGuest({ disks: ["1G", "1G", "512M"], timeoutSeconds: 6 * 3600 });
  const here = (...path: readonly string[]): string => join(guest.share, ...path);
  const shell: World["shell"] = async (script) => {
    const { code, stdout, stderr } = await guest.run(script);
    expect(code, `in the guest: ${script}: ${stderr}`).toBe(0);
    return stdout;
  };
  const hostOf = (name: string, i: 0 | 1): ThinHost =>
    thinHost({ name, ini: join(states[i], "sparsebak.ini"), vg: groups[i], guest, shell });
  const hosts = [hostOf("first", 0), hostOf("second", 1)] as const;
  const ledger = (): Ledger => ({ volumes: new Map(), sessions: new Map() });
  const form = (of: Destination): string => here(`recovery-${of}`);
  const snapshots: World["snapshots"] = async (host) =>
    (await shell(`lvs --noheadings -o lv_name ${(host as ThinHost).vg} -S lv_tags=sparsebak`))
      .split(/\s+/)
      .filter(Boolean);
  const world: World = {
    sealed,
    // Most of what they do there has to do with snapshots.
    things: { ...things, agent: { ...things.agent, send: 200, monitor: 45 } },
    hosts,
    ledgers: { default: ledger(), usb: ledger() },
    audits: { default: nonceAudit(), usb: nonceAudit() },
    run: async (host, args, kill) => {
      const agent = kill?.who === "agent";
      const command = [
        guestNode,
        ...(agent ? ["--import", join(projectRoot, "test/support/kill-at.mjs")] : []),
        `${lib}/sparsebak.mjs`,
        "-c",
        (host as ThinHost).ini,
        "-u",
        ...args,
      ];
      const text = command.map((each) => `'${each}'`).join(" ");
      const ended = await guest.run(
        [
          "export HOME=/root SPARSEBAK_TOOL_PATH=$PATH",
          ...(kill?.who === "receiver" ? [`echo ${kill.at} >${killReceiver}`] : []),
          `${agent ? `KILL_AT=${kill.at} ` : ""}${text} && code=0 || code=$?`,
          // Until no receiver is left whose agent was killed. The pattern does not find itself.
          ...(kill === undefined
            ? []
            : ["while grep -qs 'receiver[.]mjs' /proc/[0-9]*/cmdline; do sleep 0.1; done"]),
          `rm -f ${killReceiver}; exit $code`,
        ].join("\n"),
      );
      const killed = agent && ended.code === 137;
      return { ...ended, code: killed ? null : ended.code, signal: killed ? "SIGKILL" : null };
    },
    shell,
    place: (of) => join(drive, directories[of]),
    look: async () => {
      await shell(`rm -f $S/seen.tar; cd ${drive}; tar -cf $S/seen.tar $(ls -d backups usb)`);
      rmSync(here("seen"), { recursive: true, force: true });
      mkdirSync(here("seen"));
      const done = spawnSync("tar", ["-xf", here("seen.tar"), "-C", here("seen")], { encoding: "utf8" });
      expect(done.status, done.stderr).toBe(0);
    },
    seen: (of) => here("seen", directories[of]),
    form,
    assembler: join(projectRoot, "dist/lib/spbk-assemble.mjs"),
    atRest: async () => {
      for (const state of states) expect(await shell(findUnfinished(state))).toBe("");
      for (const host of hosts) {
        // Of a volume that has gone there is one still, and one may have given its name to its successor.
        const unknown = (each: string): boolean => !/\.(?:tick|send-\w{8})$/.test(each);
        expect((await snapshots(host)).filter(unknown), `snapshots of the ${host.name} host`).toEqual([]);
        const status = await shell(`dmsetup status ${host.vg}-vm--pool-tpool`);
        expect(status.trim().split(/\s+/)[6], `metadata snapshot of the ${host.name} host`).toBe("-");
      }
    },
    snapshots,
    [Symbol.asyncDispose]: async () => guest[Symbol.asyncDispose](),
  };
  try {
    const poolChunk = random.pick(["64k", "128k", "256k"]);
    for (const i of [0, 1]) writeFileSync(here(`ini-${i}`), settings(groups[i] ?? "", sealed));
    writeFileSync(here("receiver.mjs"), receiverText);
    await shell(`
      echo 'backup { backup=0 archive=0 }' >>/etc/lvm/lvmlocal.conf
      mkdir -p ${lib} ${drive} ${states.join(" ")}
      cp ${projectRoot}/dist/lib/*.mjs ${lib}; mv ${lib}/receiver.mjs ${lib}/receiver-itself.mjs; cp $S/receiver.mjs ${lib}
      mkfs.ext4 -q /dev/vdc; mount /dev/vdc ${drive}
      ${[0, 1].map((i) => `cp $S/ini-${i} ${states[i]}/sparsebak.ini; vgcreate -q -s 1m ${groups[i]} /dev/vd${"ab"[i]}; lvcreate -q -L 512m -T ${groups[i]}/vm-pool -c ${poolChunk}`).join("\n")}`);
    const [first, second] = hosts;
    for (const name of names.slice(0, 2)) await first.make(name, random);
    await second.make(names[0], random);
    if (sealed) {
      await joinSealed(world);
    } else {
      await must(world, first, "--dest", "all", "send", names[0]);
      await shell(`cp -a ${states[0]}/archives ${states[1]}/archives`);
    }
    return world;
  } catch (error) {
    await world[Symbol.asyncDispose]();
    throw error;
  }
}

function settings(vg: string, sealed: boolean): string {
  const place = (of: Destination): string =>
    `destvm = none\ndestmountpoint = ${drive}\ndestdir = ${directories[of]}\nchunk-size = 64K\n${sealed ? "" : "encryption = off\n"}`;
  return [
    `[var]\nvgname = ${vg}\npoolname = vm-pool\n${place("default")}`,
    `[volumes]\n${names
      .slice(0, 2)
      .map((each) => `${each} = enable\n`)
      .join("")}`,
    `[archive usb]\n${place("usb")}`,
  ].join("");
}

/** Stands in the receiver's place and loads it, with what kills it before it where it is to die. */
const receiverText = `import { existsSync, readFileSync } from "node:fs";
import { enableCompileCache } from "node:module";
enableCompileCache("/run/compile-cache");
if (existsSync("${killReceiver}")) {
  process.env.KILL_AT = readFileSync("${killReceiver}", "utf8");
  await import("${projectRoot}/test/support/kill-at.mjs");
}
await import("./receiver-itself.mjs");
`;
