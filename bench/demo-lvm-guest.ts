// The guest's part of ./run demo --lvm: thin volumes named as Qubes names them, one of a running VM.

import {
  check,
  device,
  makeGuestSite,
  mib,
  must,
  type Ran,
  say,
  sha256,
  startVm,
  write,
} from "../test/lab/backup/guest-site.ts";

const work = "vm-work-private";
const personal = "vm-personal-private";
const site = makeGuestSite({ volumes: [work, personal] });

function show(title: string, ran: Ran): void {
  say(`\n== ${title}`);
  say(`${ran.stdout}${ran.stderr}`.trim().replaceAll(/^/gm, "   "));
  check(ran.code === 0, `exit status ${ran.code}`);
}

for (const volume of [work, personal])
  must("lvcreate", "-V", "64M", "-T", "qubes_dom0/vm-pool", "-n", volume);
must("mkfs.ext4", "-q", "-F", device(work));
write(work, 40 * mib, 4 * mib);
write(personal, 0, 2 * mib);
startVm(work);
say("two thin volumes in qubes_dom0/vm-pool; the VM work is running, so it writes to vm-work-private-snap");
show("sparsebak send: the first time, everything that is mapped", site.sparsebak("-u", "send"));
write(`${work}-snap`, 50 * mib, mib);
write(`${work}-snap`, 10 * mib, 4096);
show("the VM writes 1 MiB and 4 KiB; sparsebak monitor", site.sparsebak("monitor"));
show("sparsebak status", site.sparsebak("status"));
show("sparsebak send: what changed", site.sparsebak("-u", "send"));
must("blkdiscard", "-o", "0", "-l", String(mib), device(personal));
show(
  "1 MiB of the other volume is discarded; sparsebak send --tarfile",
  site.sparsebak("-u", "send", "--tarfile"),
);
show("sparsebak list", site.sparsebak("list", work, personal));
for (const [volume, source] of [
  [work, `${work}-snap`],
  [personal, personal],
] as const) {
  const [found, wanted] = [site.assembled(volume), sha256(device(source))];
  check(found === wanted, `${volume}: assembled ${found}, wanted ${wanted}`);
  say(`\n== spbk-assemble ${volume}: SHA-256 ${found.slice(0, 16)}…, the same as the volume's`);
}
