// In the guest: writes, discards, resizes, monitors, sends, VM starts and stops, and kills, in an order that a seed
// decides. After every send each session assembles to what the volume was.

import {
  check,
  checkNothingLeft,
  device,
  makeGuestSite,
  mib,
  must,
  randomOf,
  say,
  sha256,
  sizeOf,
  startVm,
  stopVm,
  write,
} from "./guest-site.ts";

const seed = Number(process.argv[2]);
const steps = Number(process.argv[3]);
const random = randomOf(seed);
const volume = "vm-work-private";
const poolChunk = (["64k", "128k", "256k", "1m", "4m"] as const)[random(5)] ?? "64k";
const site = makeGuestSite({ volumes: [volume], poolChunk });
must("lvcreate", "-V", "24M", "-T", "qubes_dom0/vm-pool", "-n", volume);
let held: number | undefined;
const wanted = new Map<string, string>();
/** About as many things as a send does: where kills are aimed. */
const events = 220;

const source = (): string => (held === undefined ? volume : `${volume}-snap`);

function send(killAt: number | undefined): void {
  const digest = sha256(device(source()));
  const form = random(3) === 0 ? ["--tarfile"] : [];
  if (killAt !== undefined) {
    const ended = site.killed(killAt, "-u", "send", ...form);
    say(`   killed at ${killAt}: ${ended.signal ?? ended.code}`);
    // Whether it was committed the next send finds out; what it holds is what the volume is now.
  }
  const ended = site.sparsebak("-u", "--json", "send", ...form);
  check(ended.code === 0, `send: ${ended.code}\n${ended.stdout}\n${ended.stderr}`);
  checkNothingLeft(site);
  for (const session of site.sessions(volume)) if (!wanted.has(session)) wanted.set(session, digest);
  check(
    wanted.get(site.sessions(volume).at(-1) ?? "") === digest,
    "the newest session is not what the volume is",
  );
  for (const [session, was] of wanted) {
    const found = site.assembled(volume, session);
    check(found === was, `seed ${seed}: ${session}: assembled ${found}, wanted ${was}`);
  }
}

const actions: readonly (readonly [number, string, () => void])[] = [
  [8, "write", () => write(source(), random(Math.floor(sizeOf(source()) / 4096)) * 4096, 4096)],
  [
    3,
    "write much",
    () =>
      write(
        source(),
        random(Math.floor((sizeOf(source()) - 2 * mib) / 4096)) * 4096,
        512 * (1 + random(4096)),
      ),
  ],
  [
    3,
    "discard",
    () => {
      const offset = random(Math.floor(sizeOf(source()) / 4096)) * 4096;
      const length = Math.min(sizeOf(source()) - offset, (1 + random(700)) * 4096);
      must("blkdiscard", "-o", String(offset), "-l", String(length), device(source()));
    },
  ],
  [
    2,
    "resize",
    () => {
      const megabytes = (2 + random(10)) * 4;
      if (held !== undefined || sizeOf(volume) === megabytes * mib) return;
      must("lvresize", "-f", "-L", `${megabytes}M`, `qubes_dom0/${volume}`);
    },
  ],
  [
    3,
    "start or stop",
    () => {
      if (held === undefined) held = startVm(volume);
      else {
        stopVm(volume, held);
        held = undefined;
      }
    },
  ],
  [
    4,
    "monitor",
    () => {
      const ended = site.sparsebak("monitor");
      check(ended.code === 0, `monitor: ${ended.stderr}`);
    },
  ],
  [2, "monitor killed", () => void site.killed(1 + random(60), "monitor")],
  [2, "send", () => send(undefined)],
  [2, "send killed", () => send(1 + random(events))],
];
const bag = actions.flatMap(([weight, name, act]) => Array.from({ length: weight }, () => ({ name, act })));

for (let i = 0; i < steps; i++) {
  const { name, act } = bag[random(bag.length)] ?? { name: "", act: () => undefined };
  say(`${i} ${name}`);
  act();
}
send(undefined);
say(`done: ${wanted.size} sessions`);
