// In the guest: the main job on real thin volumes named as Qubes names them, one of them of a running VM that stops and
// starts in between. Every session of every volume assembles to what the volume was when it was sent.

import { check, linesOf, mib, must, say, sha256 } from "./guest-program.ts";
import { checkNothingLeft, makeGuestSite } from "./guest-site.ts";
import { device, makeVolume, startVm, stopVm, write } from "./guest-volumes.ts";

const volumes = ["vm-work-private", "vm-my-mail-private", "vm-debian-12-root"];
const poolChunk = process.argv[2] ?? "64k";
const site = makeGuestSite({ volumes, volumeSize: "48M", poolChunk });
const wanted = new Map<string, Map<string, string>>(volumes.map((volume) => [volume, new Map()]));

write("vm-work-private", 0, 5 * mib);
write("vm-work-private", 30 * mib + 4096, 2 * mib);
write("vm-my-mail-private", 3 * mib, 64 * 1024);
write("vm-debian-12-root", 0, 9 * mib);
let running = startVm("vm-work-private");
write("vm-work-private-snap", 8 * mib, mib);

function source(volume: string): string {
  return volume === "vm-work-private" ? `${volume}-snap` : volume;
}

function send(expected: Record<string, string>, ...args: string[]): void {
  const contents = new Map(volumes.map((volume) => [volume, sha256(device(source(volume)))]));
  const ended = site.good("-u", "--json", "send", ...args);
  const lines = linesOf(ended);
  for (const volume of volumes) {
    const line = lines.find((each) => each["volume"] === volume);
    check(
      line?.["kind"] === expected[volume],
      `send of ${volume}: found ${String(line?.["kind"])}, wanted ${expected[volume]}\n${ended.stderr}`,
    );
    if (typeof line?.["session"] === "string")
      wanted.get(volume)?.set(line["session"], contents.get(volume) ?? "");
  }
  checkNothingLeft(site);
  say(
    `ok send ${args.join(" ")}: ${lines
      .filter((each) => each["type"] === "volume")
      .map(
        (each) =>
          `${String(each["volume"])} ${String(each["kind"])} read ${String(each["readBytes"])} stored ${String(each["storedBytes"])}`,
      )
      .join(", ")}`,
  );
}

function monitor(): void {
  const ended = site.good("monitor");
  checkNothingLeft(site);
  say(`ok monitor: ${ended.stdout.trim().replaceAll("\n", "; ")}`);
}

const all = (kind: string): Record<string, string> =>
  Object.fromEntries(volumes.map((volume) => [volume, kind]));

send(all("full"));
send(all("unchanged"));
// Scattered writes and discards; the VM stops and starts between two monitors.
write("vm-work-private-snap", 20 * mib, 4096);
must("blkdiscard", "-o", String(mib), "-l", String(2 * mib), device("vm-work-private-snap"));
write("vm-my-mail-private", 40 * mib, 300_000 - (300_000 % 512));
monitor();
stopVm("vm-work-private", running);
running = startVm("vm-work-private");
write("vm-work-private-snap", 45 * mib, mib);
monitor();
send({ ...all("incremental"), "vm-debian-12-root": "unchanged" });
// Growth; then shrink and growth again, with data between.
must("lvextend", "-L", "64M", "qubes_dom0/vm-my-mail-private");
write("vm-my-mail-private", 60 * mib, mib);
send({ ...all("unchanged"), "vm-my-mail-private": "incremental" });
must("lvreduce", "-f", "-L", "32M", "qubes_dom0/vm-my-mail-private");
monitor();
must("lvextend", "-L", "56M", "qubes_dom0/vm-my-mail-private");
write("vm-my-mail-private", 50 * mib, 8192);
write("vm-debian-12-root", 47 * mib, 4096);
send(
  { ...all("unchanged"), "vm-my-mail-private": "incremental", "vm-debian-12-root": "incremental" },
  "--tarfile",
);
// Recreated under the same name: nothing of the old delta may be believed.
must("lvremove", "-f", "qubes_dom0/vm-debian-12-root");
makeVolume("vm-debian-12-root", "48M");
write("vm-debian-12-root", 4 * mib, mib);
send({ ...all("unchanged"), "vm-debian-12-root": "incremental" });
// The working copy is what a running VM has; --committed is what its last start left.
write("vm-work-private-snap", 12 * mib, 4096);
const committed = sha256(device("vm-work-private"));
site.good("-u", "send", "--committed", "--tag", "committed", "vm-work-private");
check(site.assembled("vm-work-private") === committed, "--committed: not what the last start left");
const listed = site.sparsebak("list", "vm-work-private").stdout;
check(/committed/.test(listed) && /crash/.test(listed), `list says how each session was taken: ${listed}`);
say("ok committed");
send({ ...all("unchanged"), "vm-work-private": "incremental" }, "--tarfile");

for (const [volume, sessions] of wanted) {
  for (const [session, digest] of sessions) {
    const found = site.assembled(volume, session);
    check(found === digest, `${volume} ${session}: assembled ${found}, wanted ${digest}`);
    say(`ok assembled ${volume} ${session}`);
  }
}
check(/pool: data/.test(site.good("status").stdout), "status says nothing of the pool");
stopVm("vm-work-private", running);
say("done");
