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
import { check, lineOf, linesOf, mib, say, sha256 } from "./guest-program.ts";
import { checkNothingLeft, makeGuestSite, untilStopped } from "./guest-site.ts";
import { device, startVm, stopVm, write } from "./guest-volumes.ts";

const [volume, other] = ["vm-work-private", "vm-mail-private"] as const;
const site = makeGuestSite({ volumes: [volume, other], volumeSize: "64M" });
for (const each of [volume, other]) write(each, 0, 4 * mib);

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

site.good("-u", "send");
write(volume, 8 * mib, 3 * mib);
const began = sha256(device(volume));
const first = await heldSend();
for (const at of [20, 30]) {
  write(volume, at * mib, 64 * 1024);
  const monitored = site.good("--json", "monitor").stdout;
  check(/"changedBytes":[1-9]/.test(monitored), `the monitor beside a send saw no change: ${monitored}`);
}
const locked = site.sparsebak("-u", "send");
check(locked.code === 6, `a second send: ${locked.code}, wanted 6\n${locked.stderr}`);
await letGo(first);
check(site.assembled(volume) === began, "the held session is not what the volume was when it began");
say("ok held");

const { kind, readBytes } = lineOf(site.good("-u", "--json", "send"), volume);
check(kind === "incremental", `the next send: ${String(kind)}, wanted incremental`);
// What changed, and a sample of what should not have.
check(Number(readBytes) < 4 * mib, `the next send read ${String(readBytes)} bytes`);
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
  site.good("monitor");
  await letGo(send);
  const wanted = committed
    ? { consistency: "committed", digest: clean }
    : { consistency: "crash", digest: sha256(device(`${other}-snap`)) };
  const consistency = String(linesOf(site.good("--json", "list", other)).at(-1)?.["consistency"]);
  check(consistency === wanted.consistency, `${consistency}, wanted ${wanted.consistency}`);
  check(site.assembled(other) === wanted.digest, `the session is not what was ${wanted.consistency}`);
  stopVm(other, vm);
  site.good("-u", "send");
  check(site.assembled(other) === sha256(device(other)), "the session after it is not what the volume is");
}
checkNothingLeft(site);
say("ok other");
say("done");
