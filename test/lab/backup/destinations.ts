// In the guest: two destinations from one pair of snapshots. What is sent to one is not compared again for the other: each
// send reads what has changed since the last one to the same destination, and a volume never has more than one snapshot.

import { check, linesOf, mib, must, say, sha256 } from "./guest-program.ts";
import { checkNothingLeft, makeGuestSite } from "./guest-site.ts";
import { device, ourSnapshots, write } from "./guest-volumes.ts";

const volumes = ["vm-work-private", "vm-debian-root"] as const;
const site = makeGuestSite({ volumes, volumeSize: "32M", archives: ["usb"] });
for (const volume of volumes) write(volume, 0, 3 * mib);

/** Sends, and expects of each volume and destination what kind of session it was and how many bytes were read at most. */
function send(dest: string, wanted: Readonly<Record<string, readonly [kind: string, most: number]>>): void {
  const ended = site.good("-u", "--json", "--dest", dest, "send");
  const sent = linesOf(ended)
    .filter((line) => line["type"] === "volume")
    .map((line) => ({
      of: `${String(line["archive"])} ${String(line["volume"])}`,
      kind: String(line["kind"]),
      readBytes: Number(line["readBytes"]),
    }));
  for (const [key, [kind, most]] of Object.entries(wanted)) {
    const line = sent.find((each) => each.of === key);
    const found = `${key}: ${line?.kind ?? "nothing"}, read ${line?.readBytes ?? 0}`;
    check(line?.kind === kind && line.readBytes <= most, `${found}; wanted ${kind}, at most ${most}`);
  }
  check(sent.length === Object.keys(wanted).length, `${sent.length} lines\n${ended.stdout}`);
  const snapshots = ourSnapshots();
  check(snapshots.length === volumes.length, `snapshots: ${snapshots.join(" ")}`);
  checkNothingLeft(site);
  say(`ok send --dest ${dest}: ${sent.map((each) => Object.values(each).join(" ")).join(", ")}`);
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
site.good("monitor");
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
