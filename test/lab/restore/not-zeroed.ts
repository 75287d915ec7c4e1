// In the guest: restoring onto a pool that does not zero what it maps, in pieces that are larger than the archive's chunks.
// What is written maps a whole piece, and the rest of it holds what others have left there.

import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { check, mib, must, say, sha256 } from "../backup/guest-program.ts";
import { makeGuestSite } from "../backup/guest-site.ts";
import { device, makeVolume, write } from "../backup/guest-volumes.ts";

const work = "vm-work-private";
const site = makeGuestSite({
  volumes: [work],
  volumeSize: "16M",
  poolChunk: "1m",
  poolSize: "200M",
  settings: ["chunk-size = 64K"],
});

/** What somebody else has written, and removed, lies in all that is free. The pool takes pieces in turn: so the second
 *  volume brings it back to those that the first one had. */
function leaveOthersData(): void {
  for (const pieces of [180, 100]) {
    makeVolume("other", "200M");
    const fd = openSync(device("other"), "r+");
    for (let at = 0; at < pieces; at++) writeSync(fd, Buffer.alloc(mib, 0xaa), 0, mib, at * mib);
    fsyncSync(fd);
    closeSync(fd);
    must("lvremove", "-f", "qubes_dom0/other");
  }
}

write(work, 0, mib);
write(work, 3 * mib + 256 * 1024, 64 * 1024);
const first = sha256(device(work));
site.good("-u", "send");
const [session = ""] = site.sessions(work);
must("blkdiscard", "-o", String(3 * mib), "-l", String(mib), device(work));
write(work, 9 * mib, 64 * 1024);
site.good("-u", "send");

must("lvchange", "-Zn", "qubes_dom0/vm-pool");
leaveOthersData();
for (const how of [[], ["--no-base"], ["--in-place", "--sparse-write"]]) {
  site.good("receive", work, "--session", session, ...how);
  check(sha256(device(work)) === first, `receive ${how.join(" ")}: the volume is not what was sent`);
  site.good("receive", "--confirm", work);
  site.good("diff", work, "--session", session);
  // Unmapped again, for the next one.
  must("blkdiscard", "-o", String(3 * mib), "-l", String(mib), device(work));
  say(`ok ${how.join(" ")}`);
}
say("done");
