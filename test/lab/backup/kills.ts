// In the guest: monitor and send, killed with SIGKILL at what they do to the outside, with two archives, so that also
// the instant between two archives' maps is met. After each the next run succeeds and the images are right.

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

const command = process.argv[2] === "monitor" ? "monitor" : "send";
/** How many times; 0: at everything that it does. */
const kills = Number(process.argv[3]);
const offset = Number(process.argv[4]);
const volume = "vm-work-private";
const site = makeGuestSite({ volumes: [volume], archives: ["second"] });
must("lvcreate", "-V", "16M", "-T", "qubes_dom0/vm-pool", "-n", volume);
write(volume, 0, 2 * mib);

function run(...args: string[]): void {
  const ended = site.sparsebak("-u", ...args);
  check(ended.code === 0, `${args.join(" ")}: ${ended.code}\n${ended.stderr}`);
}

let place = 0;
function change(): void {
  place = (place + 5 * 131_072) % (15 * mib);
  write(volume, place, 4096);
}

run("send");
run("send", "--dest", "second");
change();
const steps = site.counted("-u", command);
say(`${command}: ${steps} steps`);
const stride = kills === 0 ? 1 : Math.max(1, Math.floor(steps / kills));
for (let n = 1 + (offset % stride); n <= steps; n += stride) {
  change();
  const killed = site.killed(n, "-u", command);
  check(killed.signal === "SIGKILL", `step ${n}: ${killed.code} ${killed.stderr}`);
  change();
  run("send");
  checkNothingLeft(site);
  const digest = sha256(device(volume));
  check(
    site.assembled(volume) === digest,
    `killed at step ${n}: the newest session is not what the volume is`,
  );
  say(`ok ${n}`);
}
// The other archive's map went through all of it as well.
run("send", "--dest", "second");
checkNothingLeft(site);
const digest = sha256(device(volume));
const second = must(
  process.execPath,
  `${process.env["LAB_PROJECT"] ?? ""}/dist/lib/spbk-assemble.mjs`,
  `${site.drive}/second/${volume}`,
  "-o",
  "/tmp/second.img",
  "-q",
);
check(
  sha256("/tmp/second.img") === digest,
  `the second archive's session is not what the volume is ${second}`,
);
say("done");
