// In the guest, to two volumes: writes, discards, resizes, monitors, sends, VM starts and stops, and kills, in an order
// that a seed decides. After every send each session of each assembles to what the volume was.

import { check, mib, must, say, sha256 } from "./guest-program.ts";
import { checkNothingLeft, makeGuestSite } from "./guest-site.ts";
import { device, sizeOf, startVm, stopVm, write } from "./guest-volumes.ts";

/** Repeatable random numbers, good enough to choose what a test does. */
function randomOf(seed: number): (below: number) => number {
  let drawn = seed >>> 0 || 1;
  return (below) => {
    drawn ^= drawn << 13;
    drawn >>>= 0;
    drawn ^= drawn >>> 17;
    drawn ^= drawn << 5;
    drawn >>>= 0;
    return drawn % below;
  };
}

const seed = Number(process.argv[2]);
const steps = Number(process.argv[3]);
const random = randomOf(seed);
const poolChunk = (["64k", "128k", "256k", "1m", "4m"] as const)[random(5)] ?? "64k";

/** A volume of a VM, and what its sessions have to be: by their names, SHA-256 of the image. */
interface Volume {
  readonly name: string;
  /** The descriptor by which the VM holds its working copy; undefined while it is stopped. */
  held?: number | undefined;
  readonly wanted: Map<string, string>;
}

const volumes = ["vm-work-private", "vm-my-mail-private"].map((name): Volume => ({
  name,
  wanted: new Map(),
}));
const site = makeGuestSite({ volumes: volumes.map(({ name }) => name), volumeSize: "24M", poolChunk });
/** About as many things as a send of both does: where kills are aimed. */
const events = 300;

const source = ({ name, held }: Volume): string => (held === undefined ? name : `${name}-snap`);

/** Sends both, or `only` one. */
function send(killAt: number | undefined, only: Volume | undefined): void {
  const digests = new Map(volumes.map((volume) => [volume, sha256(device(source(volume)))]));
  const args = [...(random(3) === 0 ? ["--tarfile"] : []), ...(only === undefined ? [] : [only.name])];
  if (killAt !== undefined) {
    const ended = site.killed(killAt, "-u", "send", ...args);
    say(`   killed at ${killAt}: ${ended.signal ?? ended.code}`);
    // Whether it was committed the next send finds out; what it holds is what the volume is now.
  }
  site.good("-u", "send", ...args);
  checkNothingLeft(site);
  for (const volume of volumes) checkSessions(volume, digests.get(volume) ?? "", volume === (only ?? volume));
}

/** Each session assembles to what the volume was; where it was `sent`, the newest is what it is now. */
function checkSessions({ name, wanted }: Volume, digest: string, sent: boolean): void {
  const sessions = site.sessions(name);
  for (const session of sessions) {
    if (wanted.has(session)) continue;
    check(sent, `${session}: a session of ${name}, which was not sent`);
    wanted.set(session, digest);
  }
  if (sent) check(wanted.get(sessions.at(-1) ?? "") === digest, `the newest session is not what ${name} is`);
  for (const [session, was] of wanted) {
    const found = site.assembled(name, session);
    check(found === was, `seed ${seed}: ${name} ${session}: assembled ${found}, wanted ${was}`);
  }
}

/** What is done to one volume, and how often beside the others. */
const actions: readonly (readonly [number, string, (volume: Volume) => void])[] = [
  [
    8,
    "write",
    (volume) => {
      const to = source(volume);
      write(to, random(Math.floor(sizeOf(to) / 4096)) * 4096, 4096);
    },
  ],
  [
    3,
    "write much",
    (volume) => {
      const to = source(volume);
      write(to, random(Math.floor((sizeOf(to) - 2 * mib) / 4096)) * 4096, 512 * (1 + random(4096)));
    },
  ],
  [
    3,
    "discard",
    (volume) => {
      const size = sizeOf(source(volume));
      const offset = random(Math.floor(size / 4096)) * 4096;
      const length = Math.min(size - offset, (1 + random(700)) * 4096);
      must("blkdiscard", "-o", String(offset), "-l", String(length), device(source(volume)));
    },
  ],
  [
    2,
    "resize",
    ({ name, held }) => {
      const megabytes = (2 + random(10)) * 4;
      if (held !== undefined || sizeOf(name) === megabytes * mib) return;
      must("lvresize", "-f", "-L", `${megabytes}M`, `qubes_dom0/${name}`);
    },
  ],
  [
    3,
    "start or stop",
    (volume) => {
      if (volume.held === undefined) volume.held = startVm(volume.name);
      else {
        stopVm(volume.name, volume.held);
        volume.held = undefined;
      }
    },
  ],
  [4, "monitor both", () => void site.good("monitor")],
  [2, "monitor both, killed", () => void site.killed(1 + random(80), "monitor")],
  [1, "send both", () => send(undefined, undefined)],
  [1, "send", (volume) => send(undefined, volume)],
  [2, "send both, killed", () => send(1 + random(events), undefined)],
];
const bag = actions.flatMap(([weight, name, act]) => Array.from({ length: weight }, () => ({ name, act })));

for (let i = 0; i < steps; i++) {
  const action = bag[random(bag.length)];
  const volume = volumes[random(volumes.length)];
  if (action === undefined || volume === undefined) throw new Error("nothing to choose from");
  say(`${i} ${action.name} (${volume.name})`);
  action.act(volume);
}
send(undefined, undefined);
say(`done: ${volumes.map(({ name, wanted }) => `${wanted.size} sessions of ${name}`).join(", ")}`);
