// In the guest: monitors while a long send runs (design section 5). A send is held still when its session is pinned and
// its data is on the way; the volume changes, and is monitored, twice; then the send goes on. Its session is what the
// volume was when it began, and the next one has all that changed meanwhile, and reads no more than that.

import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  check,
  checkNothingLeft,
  device,
  makeGuestSite,
  mib,
  must,
  say,
  sha256,
  write,
} from "./guest-site.ts";

const volume = "vm-work-private";
const site = makeGuestSite({ volumes: [volume] });
must("lvcreate", "-V", "64M", "-T", "qubes_dom0/vm-pool", "-n", volume);
write(volume, 0, 4 * mib);

function good(...args: readonly string[]): string {
  const ended = site.sparsebak(...args);
  check(ended.code === 0, `${args.join(" ")}: ${ended.code}\n${ended.stderr}`);
  return ended.stdout;
}

/** True while a process is stopped by a signal. */
function isStopped(pid: number): boolean {
  return /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}

function statePath(): string {
  const volumes = join(site.state, "archives", "default", "volumes");
  return join(volumes, readdirSync(volumes)[0] ?? "");
}

good("-u", "send");
write(volume, 8 * mib, 3 * mib);
const began = sha256(device(volume));
// The journal is begun behind the pin, and written when the receiver has synced what it got.
const send = site.heldAt(/journal-/, "-u", "send");
const pid = send.pid ?? 0;
for (let i = 0; i < 3000 && !isStopped(pid); i++) {
  check(send.exitCode === null, "the send has ended, and was not held");
  await sleep(100);
}
check(isStopped(pid), "the send was not held");
check(existsSync(join(statePath(), "pending")), "the held send has pinned nothing");
for (const at of [20, 30]) {
  write(volume, at * mib, 64 * 1024);
  const monitored = good("--json", "monitor");
  check(/"changedBytes":[1-9]/.test(monitored), `the monitor beside a send saw no change: ${monitored}`);
}
const locked = site.sparsebak("-u", "send");
check(locked.code === 6, `a second send: ${locked.code}, wanted 6\n${locked.stderr}`);
process.kill(pid, "SIGCONT");
if (send.exitCode === null) await once(send, "exit");
check(send.exitCode === 0, `the held send: ${send.exitCode}`);
check(site.assembled(volume) === began, "the held session is not what the volume was when it began");
say("ok held");

const line = good("-u", "--json", "send")
  .split("\n")
  .find((each) => each.includes('"type":"volume"'));
const { kind, readBytes } = JSON.parse(line ?? "{}") as { kind?: string; readBytes?: number };
check(kind === "incremental", `the next send: ${String(kind)}, wanted incremental`);
// What changed, and a sample of what should not have.
check((readBytes ?? Infinity) < 4 * mib, `the next send read ${String(readBytes)} bytes`);
check(site.assembled(volume) === sha256(device(volume)), "the next session is not what the volume is");
const [first, held, last] = site.sessions(volume);
check(first !== undefined && held !== undefined && last !== undefined, "wanted three sessions");
check(site.assembled(volume, held) === began, "the held session is another one afterwards");
checkNothingLeft(site);
say("ok next");
say("done");
