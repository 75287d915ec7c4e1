// In the guest: what becomes of delta maps and snapshots when sessions and volumes go or get another name. The next send
// is incremental as before, and no snapshot stays without a purpose.

import { check, lineOf, mib, must, say, sha256 } from "./guest-program.ts";
import { checkNothingLeft, makeGuestSite } from "./guest-site.ts";
import { device, ourSnapshots, write } from "./guest-volumes.ts";

const [work, mail] = ["vm-work-private", "vm-mail-private"] as const;
const office = "vm-office-private";
const site = makeGuestSite({ volumes: [work, mail], volumeSize: "32M" });
for (const volume of [work, mail]) write(volume, 0, 3 * mib);

/** Sends and expects what kind of session it was. */
function send(volume: string, kind: string): void {
  const ran = site.good("-u", "--json", "send", volume);
  const { kind: found, readBytes } = lineOf(ran, volume);
  check(found === kind, `send of ${volume}: found ${String(found)}, wanted ${kind}\n${ran.stdout}`);
  say(`ok send ${volume}: ${kind}, read ${String(readBytes)}`);
}

for (const volume of [work, mail]) send(volume, "full");
for (const at of [8, 12, 16]) {
  write(work, at * mib, 64 * 1024);
  send(work, "incremental");
}
write(work, 20 * mib, 64 * 1024);
site.good("-u", "prune", work, "--keep-last", "1");
send(work, "incremental");
check(
  site.assembled(work) === sha256(device(work)),
  "after a prune the last session is not what the volume is",
);
checkNothingLeft(site);
say("ok prune");

// The VM gets another name.
must("lvrename", `qubes_dom0/${work}`, `qubes_dom0/${office}`);
site.good("-u", "rename", work, office);
site.good("-u", "add", office);
send(office, "unchanged");
write(office, 24 * mib, 64 * 1024);
send(office, "incremental");
check(
  site.assembled(work) === sha256(device(office)),
  "after a rename the last session is not what the volume is",
);
check(
  ourSnapshots().toSorted().join() === `${mail}.tick,${office}.tick`,
  `snapshots: ${ourSnapshots().join()}`,
);
say("ok rename");

site.good("-u", "delete", mail, "--yes");
check(ourSnapshots().join() === `${office}.tick`, `snapshots: ${ourSnapshots().join()}`);
site.good("-u", "delete", office, "--local");
check(ourSnapshots().length === 0, `snapshots: ${ourSnapshots().join()}`);
write(office, 28 * mib, 64 * 1024);
send(office, "compared");
check(
  site.assembled(work) === sha256(device(office)),
  "after delete --local the last session is not what the volume is",
);
checkNothingLeft(site);
say("ok delete");
say("done");
