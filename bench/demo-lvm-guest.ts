// The guest's part of ./run demo --lvm: thin volumes named as Qubes names them, one of a running VM; each session is put
// together again and compared with what the volume was. The guest's archive is not sealed, and nothing is timed, since an
// emulated processor says nothing about a real one: ./run demo has both.

import { check, linesOf, mib, must, say, sha256 } from "../test/lab/backup/guest-program.ts";
import { makeGuestSite } from "../test/lab/backup/guest-site.ts";
import { device, startVm, write } from "../test/lab/backup/guest-volumes.ts";
import { bytesText } from "../dom0-agent/units.ts";
import { table } from "./programs.ts";

const work = "vm-work-private";
const personal = "vm-personal-private";
const site = makeGuestSite({ volumes: [work, personal], volumeSize: "64M" });
const rows = [["", "read", "sent", "stored"]];
/** SHA-256 of what each volume was when a session of it was sent. */
const sent: { readonly volume: string; readonly session: string; readonly digest: string }[] = [];

function show(title: string, text: string): void {
  say(`\n== ${title}`);
  say(text.trim().replaceAll(/^/gm, "   "));
}

/** What the VM of a volume writes to, or the volume. */
function current(volume: string): string {
  return sha256(device(volume === work ? `${work}-snap` : volume));
}

function send(title: string, ...options: readonly string[]): void {
  const lines = linesOf(site.good("-u", "--json", "send", ...options));
  const volumes = lines.filter((line) => line["type"] === "volume");
  show(title, volumes.map((line) => `${String(line["volume"])}: ${String(line["message"])}`).join("\n"));
  const sum = (name: string): string =>
    bytesText(volumes.reduce((total, line) => total + Number(line[name]), 0));
  rows.push([title.split(":")[0] ?? "", ...["readBytes", "sentBytes", "storedBytes"].map(sum)]);
  for (const { volume, session } of volumes)
    if (typeof session === "string")
      sent.push({ volume: String(volume), session, digest: current(String(volume)) });
}

must("mkfs.ext4", "-q", "-F", device(work));
write(work, 40 * mib, 4 * mib);
write(personal, 0, 2 * mib);
startVm(work);
say("two thin volumes in qubes_dom0/vm-pool; the VM work is running, so it writes to vm-work-private-snap");
send("first send: everything that is mapped");
write(`${work}-snap`, 50 * mib, mib);
write(`${work}-snap`, 10 * mib, 4096);
show("the VM writes 1 MiB and 4 KiB; sparsebak monitor", site.good("monitor").stdout);
show("sparsebak status", site.good("status").stdout);
send("second send: what changed");
must("blkdiscard", "-o", "0", "-l", String(mib), device(personal));
send("send --tarfile: 1 MiB of the other volume is discarded", "--tarfile");
show("sparsebak list", site.good("list", work, personal).stdout);
say("\n== spbk-assemble: each session of each volume");
for (const { volume, session, digest } of sent) {
  const found = site.assembled(volume, session);
  check(found === digest, `${volume} ${session}: assembled ${found}, wanted ${digest}`);
  say(`   ${volume} ${session}: SHA-256 ${found.slice(0, 16)}…, the same as the volume's`);
}
say(`\n${table(rows)}`);
