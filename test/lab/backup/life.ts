// In the guest: what becomes of delta maps and snapshots when sessions and volumes go or get another name. The next send
// is incremental as before, and no snapshot stays without a purpose.

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

const [work, mail] = ["vm-work-private", "vm-mail-private"] as const;
const office = "vm-office-private";
const site = makeGuestSite({ volumes: [work, mail] });
for (const volume of [work, mail]) {
  must("lvcreate", "-V", "32M", "-T", "qubes_dom0/vm-pool", "-n", volume);
  write(volume, 0, 3 * mib);
}

function run(...args: string[]): string {
  const ended = site.sparsebak("-u", ...args);
  check(ended.code === 0, `${args.join(" ")}: ${ended.code}\n${ended.stdout}\n${ended.stderr}`);
  return ended.stdout + ended.stderr;
}

/** Sends and expects what kind of session it was. */
function send(volume: string, kind: string): void {
  const lines = run("--json", "send", volume).split("\n");
  const line = lines.find((each) => each.includes('"type":"volume"')) ?? "{}";
  const { kind: found, readBytes } = JSON.parse(line) as { kind?: string; readBytes?: number };
  check(found === kind, `send of ${volume}: found ${String(found)}, wanted ${kind}\n${lines.join("\n")}`);
  say(`ok send ${volume}: ${kind}, read ${String(readBytes)}`);
}

function ours(): string[] {
  return must("lvs", "--noheadings", "-o", "lv_name", "@sparsebak")
    .split("\n")
    .map((each) => each.trim())
    .filter(Boolean);
}

for (const volume of [work, mail]) send(volume, "full");
for (const at of [8, 12, 16]) {
  write(work, at * mib, 64 * 1024);
  send(work, "incremental");
}
write(work, 20 * mib, 64 * 1024);
run("prune", work, "--keep-last", "1");
send(work, "incremental");
check(
  site.assembled(work) === sha256(device(work)),
  "after a prune the last session is not what the volume is",
);
checkNothingLeft(site);
say("ok prune");

// The VM gets another name.
must("lvrename", `qubes_dom0/${work}`, `qubes_dom0/${office}`);
run("rename", work, office);
run("add", office);
send(office, "unchanged");
write(office, 24 * mib, 64 * 1024);
send(office, "incremental");
check(
  site.assembled(work) === sha256(device(office)),
  "after a rename the last session is not what the volume is",
);
check(ours().sort().join() === `${mail}.tick,${office}.tick`, `snapshots: ${ours().join()}`);
say("ok rename");

run("delete", mail, "--yes");
check(ours().join() === `${office}.tick`, `snapshots: ${ours().join()}`);
run("delete", office, "--local");
check(ours().length === 0, `snapshots: ${ours().join()}`);
write(office, 28 * mib, 64 * 1024);
send(office, "compared");
check(
  site.assembled(work) === sha256(device(office)),
  "after delete --local the last session is not what the volume is",
);
checkNothingLeft(site);
say("ok delete");
say("done");
