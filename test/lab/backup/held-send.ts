// In the guest: monitors while a long send runs (design section 5). A send is held still when its first volume's session
// is pinned and its data is on the way; then the send goes on.
//
//   held   the volume changes, and is monitored, twice. The session is what the volume was when the send began, and the
//   next   one has all that changed meanwhile, and reads no more than that.
//   other  the VM of a volume whose turn is yet to come starts, and is monitored. Its session is what it says that it is.

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import {
  check,
  checkNothingLeft,
  device,
  makeGuestSite,
  mib,
  must,
  say,
  sha256,
  startVm,
  stopVm,
  untilStopped,
  write,
} from "./guest-site.ts";

const [volume, other] = ["vm-work-private", "vm-mail-private"] as const;
const site = makeGuestSite({ volumes: [volume, other] });
for (const each of [volume, other]) {
  must("lvcreate", "-V", "64M", "-T", "qubes_dom0/vm-pool", "-n", each);
  write(each, 0, 4 * mib);
}

function good(...args: readonly string[]): string {
  const ended = site.sparsebak(...args);
  check(ended.code === 0, `${args.join(" ")}: ${ended.code}\n${ended.stderr}`);
  return ended.stdout;
}

/** True while a send of any volume is under way, or was interrupted. */
function pinned(): boolean {
  const volumes = join(site.state, "archives", "default", "volumes");
  return readdirSync(volumes).some((id) => existsSync(join(volumes, id, "pending")));
}

/** A send that stands still: the journal of its first volume is begun behind the pin, and written when the receiver has
 *  synced what it got. */
async function heldSend(...options: readonly string[]): Promise<ChildProcess> {
  const send = site.heldAt(/journal-/, "-u", "send", ...options);
  await untilStopped(send);
  check(pinned(), "the held send has pinned nothing");
  return send;
}

async function letGo(send: ChildProcess): Promise<void> {
  process.kill(send.pid ?? 0, "SIGCONT");
  if (send.exitCode === null) await once(send, "exit");
  check(send.exitCode === 0, `the held send: ${send.exitCode}`);
}

good("-u", "send");
write(volume, 8 * mib, 3 * mib);
const began = sha256(device(volume));
const first = await heldSend();
for (const at of [20, 30]) {
  write(volume, at * mib, 64 * 1024);
  const monitored = good("--json", "monitor");
  check(/"changedBytes":[1-9]/.test(monitored), `the monitor beside a send saw no change: ${monitored}`);
}
const locked = site.sparsebak("-u", "send");
check(locked.code === 6, `a second send: ${locked.code}, wanted 6\n${locked.stderr}`);
await letGo(first);
check(site.assembled(volume) === began, "the held session is not what the volume was when it began");
say("ok held");

const line = good("-u", "--json", "send")
  .split("\n")
  .find((each) => each.includes(`"volume":"${volume}"`));
const { kind, readBytes } = JSON.parse(line ?? "{}") as { kind?: string; readBytes?: number };
check(kind === "incremental", `the next send: ${String(kind)}, wanted incremental`);
// What changed, and a sample of what should not have.
check((readBytes ?? Infinity) < 4 * mib, `the next send read ${String(readBytes)} bytes`);
check(site.assembled(volume) === sha256(device(volume)), "the next session is not what the volume is");
const [, held, last] = site.sessions(volume);
check(held !== undefined && last !== undefined, "wanted three sessions");
check(site.assembled(volume, held) === began, "the held session is another one afterwards");
checkNothingLeft(site);
say("ok next");

for (const committed of [true, false]) {
  write(volume, 40 * mib, 3 * mib);
  write(other, 8 * mib, 64 * 1024);
  const clean = sha256(device(other));
  const send = await heldSend(...(committed ? ["--committed"] : []));
  const vm = startVm(other);
  write(`${other}-snap`, 16 * mib, 64 * 1024);
  good("monitor");
  await letGo(send);
  const wanted = committed
    ? { consistency: "committed", digest: clean }
    : { consistency: "crash", digest: sha256(device(`${other}-snap`)) };
  const listed = [...good("--json", "list", other).matchAll(/"consistency":"([a-z]+)"/g)];
  const consistency = listed.at(-1)?.[1];
  check(consistency === wanted.consistency, `${consistency}, wanted ${wanted.consistency}`);
  check(site.assembled(other) === wanted.digest, `the session is not what was ${wanted.consistency}`);
  stopVm(other, vm);
  good("-u", "send");
  check(site.assembled(other) === sha256(device(other)), "the session after it is not what the volume is");
}
checkNothingLeft(site);
say("ok other");
say("done");
