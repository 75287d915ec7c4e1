// In the guest, boot after boot on the same disks: the power is cut in the middle of a monitor or a send, so that what
// was not synced is gone. After each boot the next run succeeds, every session is what the volume was, and nothing is
// left. What has to be remembered from boot to boot is printed, and given back as arguments.

import { check, mib, say, sha256 } from "./guest-program.ts";
import { checkNothingLeft, type GuestSite, makeGuestSite, reopenGuestSite } from "./guest-site.ts";
import { device, write } from "./guest-volumes.ts";

/** What one boot is told. */
export interface Boot {
  /** Counts from 0, which makes everything. */
  readonly number: number;
  /** SHA-256 of the volume by session. */
  readonly sessions: Readonly<Record<string, string>>;
  /** That of the volume when the power was cut: of a session that was committed just before. */
  readonly atCut?: string;
  /** Without it, this boot is the last. */
  readonly cut?: Cut;
}

/** What is cut, and where. */
export interface Cut {
  readonly command: "monitor" | "send";
  readonly form: "dir" | "tar";
  /** A share of all that the command does; or as soon as the pool's metadata is held, when no word of that has reached a
   *  disk yet. */
  readonly where: number | "metadata held";
}

const volume = "vm-work-private";
const boot = JSON.parse(process.argv[2] ?? "{}") as Boot;
const sessions = new Map(Object.entries(boot.sessions));

function remember(name: string, digest: string): void {
  sessions.set(name, digest);
  say(`session ${name} ${digest}`);
}

function change(site: GuestSite): void {
  // Somewhere else, boot after boot, and over what is there.
  const at = boot.number * mib + site.sessions(volume).length * 131_072;
  write(volume, 2 * mib + (at % (29 * mib)), 300 * 512);
  write(volume, (boot.number * 131_072) % (32 * mib), 4096);
}

function send(site: GuestSite): void {
  site.good("-u", "send");
  checkNothingLeft(site);
  const digest = sha256(device(volume));
  for (const name of site.sessions(volume)) if (!sessions.has(name)) remember(name, digest);
  check(site.assembled(volume) === digest, "the newest session is not what the volume is");
}

let site: GuestSite;
if (boot.number === 0) {
  site = makeGuestSite({ volumes: [volume], volumeSize: "32M", poolSize: "600M" });
  write(volume, 0, 2 * mib);
} else {
  site = reopenGuestSite();
  // A session that nobody has seen the end of was committed before the cut, or is not there.
  for (const name of site.sessions(volume)) if (!sessions.has(name)) remember(name, boot.atCut ?? "");
  change(site);
}
send(site);
change(site);
if (boot.cut === undefined) {
  for (const [name, digest] of sessions)
    check(site.assembled(volume, name) === digest, `${name} is not what the volume was`);
  say("done");
} else {
  const { command, where, form } = boot.cut;
  const args = ["-u", command, ...(form === "tar" ? ["--tarfile"] : [])];
  const steps = site.counted(...args);
  if (command === "send")
    for (const name of site.sessions(volume)) if (!sessions.has(name)) remember(name, sha256(device(volume)));
  change(site);
  const at =
    typeof where === "number" ? 1 + Math.floor(where * steps) : { after: /^spawn flock --exclusive \// };
  say(`cut ${sha256(device(volume))}`);
  const ended = site.powerCut(at, ...args);
  check(false, `it came back from a power cut at ${where} of ${steps}: ${ended.code} ${ended.stderr}`);
}
