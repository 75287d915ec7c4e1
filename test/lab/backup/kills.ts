// In the guest: monitor or send, killed with SIGKILL at what they do to the outside, with two archives, so that also the
// instant between two archives' maps is met. After each kill the next run succeeds and leaves nothing behind. What the
// sessions have to be is printed; at the end the archives are copied out, for the other side to assemble every session.

import { check, lineOf, mib, must, say, sha256 } from "./guest-program.ts";
import { checkNothingLeft, makeGuestSite } from "./guest-site.ts";
import { device, write } from "./guest-volumes.ts";

const command = process.argv[2] === "monitor" ? "monitor" : "send";
/** How many kills, spread over all that it does; or each `stride`-th thing, where that is not 0. */
const [kills = 0, stride = 0, offset = 0] = process.argv.slice(3, 6).map(Number);
const copyTo = process.argv[6] ?? "";
const volume = "vm-work-private";
const site = makeGuestSite({ volumes: [volume], volumeSize: "16M", archives: ["second"] });
write(volume, 0, 2 * mib);

/** Says what the session that is made now, if one is, has to be. */
function send(...args: string[]): void {
  const digest = sha256(device(volume));
  const { session } = lineOf(site.good("-u", "--json", "send", ...args), volume);
  say(`sent ${args[1] ?? "default"} ${typeof session === "string" ? session : "nothing"} ${digest}`);
  checkNothingLeft(site);
}

/** 24 places, of which a chunk each is written in turn: a send comes before the first is written again. */
let place = 0;
function change(): void {
  place = (place + 5 * 131_072) % (15 * mib);
  write(volume, place, 4096);
}

send();
send("--dest", "second");
change();
/** What a send that is not said to have made a session may have committed. */
function sayMayBe(): void {
  if (command === "send") say(`may be ${sha256(device(volume))}`);
}
sayMayBe();
const steps = site.counted("-u", command);
say(`${command}: ${steps} steps`);
const every = stride > 0 ? stride : Math.max(1, Math.floor(steps / kills));
/** A killed send is followed by a send. A killed monitor is mostly followed by a monitor, which takes up what it has left
 *  just as a send would, and is quicker; what a kill had lost would be missing in the next session. */
const sendEvery = command === "send" ? 1 : 4;
let done = 0;
for (let n = 1 + (offset % every); n <= steps; n += every) {
  change();
  sayMayBe();
  const killed = site.killed(n, "-u", command);
  check(killed.signal === "SIGKILL", `step ${n}: ${killed.code} ${killed.stderr}`);
  change();
  if (done++ % sendEvery === 0) send();
  else {
    site.good("-u", "monitor");
    checkNothingLeft(site);
  }
  say(`ok ${n}`);
}
change();
send();
// The other archive's map went through all of it as well.
send("--dest", "second");
must("tar", "-C", site.drive, "-cf", `${copyTo}/archives.tar`, "backups", "second");
say("done");
