// The volumes of one host of the model test, in a pool of its own in the guest: shell text for what a day does to them, and
// VMs that start and stop. What is where is known here; only the guest knows what the volumes hold.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { randomBytesOf } from "../../../bench/image.ts";
import type { Random } from "../../fuzz/random.ts";
import { type Host, names } from "../../support/model/world.ts";
import type { LiveGuest } from "../live-guest.ts";

const kib = 1024;
const chunk = 64 * kib;

export interface ThinHost extends Host {
  readonly ini: string;
  readonly vg: string;
}

export interface ThinHostOptions {
  readonly name: string;
  readonly ini: string;
  readonly vg: string;
  readonly guest: LiveGuest;
  /** Runs shell text in the guest, which must succeed. */
  readonly shell: (script: string) => Promise<string>;
}

interface Volume {
  mib: number;
  /** Its VM runs, and writes to a snapshot of its own. */
  running: boolean;
}

export function thinHost({ name, ini, vg, guest, shell }: ThinHostOptions): ThinHost {
  const known = new Map<string, Volume>();
  let writes = 0;
  const of = (volume: string): Volume => {
    const found = known.get(volume);
    if (found === undefined) throw new Error(`${volume}: not a volume of the ${name} host`);
    return found;
  };
  const path = (volume: string): string => `/dev/${vg}/${volume}`;
  const device = (volume: string): string => path(volume + (of(volume).running ? "-snap" : ""));

  /** Text that writes `length` bytes which no volume has had before, out of a file. */
  const write = (volume: string, offset: number, length: number, seed: number): string => {
    const file = join(guest.share, `fill-${writes++}`);
    writeFileSync(file, randomBytesOf(seed)(length));
    return `dd if=${file} of=${device(volume)} bs=4k count=${length / 4096} seek=${offset / 4096} iflag=fullblock conv=notrunc,fsync status=none`;
  };
  const start = (volume: string): string => {
    of(volume).running = true;
    const snap = `${volume}-snap`;
    return `lvcreate -q -kn -ay -s ${vg}/${volume} -n ${snap}
      setsid sleep infinity <${path(snap)} >/dev/null 2>&1 & echo $! >/run/${vg}-${volume}`;
  };
  /** What it wrote is kept: its snapshot becomes the volume. */
  const stop = (volume: string): string => {
    of(volume).running = false;
    return `kill -9 $(cat /run/${vg}-${volume})
      lvrename -q ${vg} ${volume} ${volume}-1-back; lvrename -q ${vg} ${volume}-snap ${volume}; lvremove -q -f ${vg}/${volume}-1-back`;
  };
  const atRest = (volume: string): string => (of(volume).running ? stop(volume) : ":");
  const makeThin = (volume: string, random: Random): string => {
    const mib = 1 + random.below(3);
    known.set(volume, { mib, running: false });
    return `lvcreate -q -kn -ay -V ${mib}m -T ${vg}/vm-pool -n ${volume}`;
  };

  const changes = {
    write: (volume: string, _other: string, random: Random): string => {
      const length = random.pick([4, 64, 300]) * kib;
      const at = random.below((of(volume).mib * 1024 * kib - length) / 4096 + 1) * 4096;
      return write(volume, at, length, random.below(2 ** 31));
    },
    copy: (volume: string, other: string, random: Random): string => {
      const chunks = Math.min(4, of(volume).mib * 16, of(other).mib * 16);
      const [from, to] = [other, volume].map((each) => random.below(of(each).mib * 16 - chunks + 1));
      return `dd if=${device(other)} of=${device(volume)} bs=${chunk} count=${chunks} skip=${from} seek=${to} conv=notrunc,fsync status=none`;
    },
    discard: (volume: string, _other: string, random: Random): string => {
      const size = of(volume).mib * 1024 * kib;
      const offset = random.below(size / 4096) * 4096;
      const length = Math.min(size - offset, (1 + random.below(100)) * 4096);
      return `blkdiscard -o ${offset} -l ${length} ${device(volume)}`;
    },
    resize: (volume: string, _other: string, random: Random): string => {
      const stopped = atRest(volume);
      const mib = (of(volume).mib % 4) + 1 + random.below(2);
      if (mib === of(volume).mib) return stopped;
      of(volume).mib = mib;
      return `${stopped}; lvresize -q -f -L ${mib}m ${vg}/${volume}`;
    },
    /** As a clone of a template: under its old name it is a new volume, which shares all with the other one. */
    clone: (volume: string, other: string): string => {
      if (volume === other) return ":";
      const stopped = atRest(volume);
      of(volume).mib = of(other).mib;
      return `${stopped}; lvremove -q -f ${vg}/${volume}; lvcreate -q -kn -ay -s ${vg}/${other} -n ${volume}`;
    },
    "start or stop": (volume: string): string => (of(volume).running ? stop(volume) : start(volume)),
  };
  const kinds = [
    "write",
    "write",
    "copy",
    "discard",
    "resize",
    "clone",
    "start or stop",
  ] as const satisfies readonly (keyof typeof changes)[];

  const volumes: Host["volumes"] = () => names.filter((each) => known.has(each));
  return {
    name,
    ini,
    vg,
    volumes,
    digests: async (which) => {
      const said = await shell(`sha256sum ${which.map(device).join(" ")}`);
      const lines = said.split("\n");
      return new Map(which.map((each, i) => [each, (lines[i] ?? "").slice(0, 64)]));
    },
    make: async (volume, random) => {
      const made = makeThin(volume, random);
      await shell(`${made}; ${write(volume, random.below(8) * chunk, 512 * kib, random.below(2 ** 31))}`);
    },
    rename: async (from, to) => {
      const text = `${atRest(from)}; lvrename -q ${vg} ${from} ${to}`;
      known.set(to, of(from));
      known.delete(from);
      await shell(text);
    },
    change: async (times, random) => {
      const done: string[] = [];
      for (let i = 0; i < times; i++) {
        const kind = random.pick(kinds);
        const [volume, other] = [random.pick(volumes()), random.pick(volumes())];
        await shell(changes[kind](volume, other, random));
        done.push(kind);
      }
      return done;
    },
  };
}
