// In the guest: two destinations from one pair of snapshots. What is sent to one is not compared again for the other: each
// send reads what has changed since the last one to the same destination, and a volume never has more than one snapshot.

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

const volumes = ["vm-work-private", "vm-debian-root"] as const;
const site = makeGuestSite({ volumes, archives: ["usb"] });
for (const volume of volumes) {
  must("lvcreate", "-V", "32M", "-T", "qubes_dom0/vm-pool", "-n", volume);
  write(volume, 0, 3 * mib);
}

interface Sent {
  readonly type: string;
  readonly volume: string;
  readonly archive: string;
  readonly kind: string;
  readonly readBytes: number;
}

/** Sends, and expects of each volume and destination what kind of session it was and how many bytes were read at most. */
function send(dest: string, wanted: Readonly<Record<string, readonly [kind: string, most: number]>>): void {
  const ended = site.sparsebak("-u", "--json", "--dest", dest, "send");
  check(ended.code === 0, `send --dest ${dest}: ${ended.code}\n${ended.stdout}\n${ended.stderr}`);
  const sent = ended.stdout
    .split("\n")
    .filter((line) => line.includes('"type":"volume"'))
    .map((line) => JSON.parse(line) as Sent);
  for (const [key, [kind, most]] of Object.entries(wanted)) {
    const line = sent.find((each) => `${each.archive} ${each.volume}` === key);
    const found = `${key}: ${line?.kind ?? "nothing"}, read ${line?.readBytes ?? 0}`;
    check(line?.kind === kind && line.readBytes <= most, `${found}; wanted ${kind}, at most ${most}`);
  }
  check(sent.length === Object.keys(wanted).length, `${sent.length} lines\n${ended.stdout}`);
  const snapshots = must("lvs", "--noheadings", "-o", "lv_name", "@sparsebak").trim().split(/\s+/);
  check(snapshots.length === volumes.length, `snapshots: ${snapshots.join(" ")}`);
  checkNothingLeft(site);
  say(
    `ok send --dest ${dest}: ${sent.map((each) => `${each.archive} ${each.volume} ${each.kind} ${each.readBytes}`).join(", ")}`,
  );
}

const [work, root] = volumes;
const all = 32 * mib;
send("all", {
  [`default ${work}`]: ["full", all],
  [`default ${root}`]: ["full", all],
  [`usb ${work}`]: ["full", all],
  [`usb ${root}`]: ["full", all],
});
// Three changes of a chunk each, of which the one destination gets each and the other all at once.
for (const at of [8, 12, 16]) {
  write(work, at * mib, 4096);
  send("default", { [`default ${work}`]: ["incremental", mib / 4], [`default ${root}`]: ["unchanged", 0] });
}
const monitored = site.sparsebak("monitor");
check(monitored.code === 0, `monitor: ${monitored.stderr}`);
write(root, 20 * mib, 4096);
send("usb", { [`usb ${work}`]: ["incremental", mib], [`usb ${root}`]: ["incremental", mib / 4] });
// One of them is not there: the other one is sent to, and later the first one catches up by what it has missed.
write(work, 24 * mib, 4096);
must("mv", `${site.drive}/usb`, `${site.drive}/away`);
const partly = site.sparsebak("-u", "--json", "--dest", "all", "send");
check(partly.code === 5, `send --dest all without one: ${partly.code}\n${partly.stdout}\n${partly.stderr}`);
check(/"archive":"usb"/.test(partly.stdout), partly.stdout);
// The receiver has made an empty directory to look into.
must("rm", "-rf", `${site.drive}/usb`);
must("mv", `${site.drive}/away`, `${site.drive}/usb`);
send("all", {
  [`default ${work}`]: ["unchanged", 0],
  [`default ${root}`]: ["unchanged", 0],
  [`usb ${work}`]: ["incremental", mib / 4],
  [`usb ${root}`]: ["unchanged", 0],
});
for (const volume of volumes) {
  const now = sha256(device(volume));
  for (const directory of ["backups", "usb"])
    check(
      site.assembled(volume, undefined, directory) === now,
      `${directory} ${volume}: not what the volume is`,
    );
}
say("done");
