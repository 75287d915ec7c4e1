// In the guest: a lost chunk of a thin volume that has not changed. The storage says so, and a send reads it all the same,
// that chunk and no others; a repair reads it from a snapshot of its own, and sends.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, lineOf, linesOf, mib, say, sha256 } from "./guest-program.ts";
import { checkNothingLeft, makeGuestSite } from "./guest-site.ts";
import { device, write } from "./guest-volumes.ts";

const volume = "vm-work-private";
const site = makeGuestSite({ volumes: [volume], volumeSize: "32M" });
write(volume, 0, 3 * mib);

/** Sends; gives the line of the volume. */
function send(): Readonly<Record<string, unknown>> {
  return lineOf(site.good("-u", "--json", "send"), volume);
}

/** Changes a byte in the n-th chunk of the first session. */
function damage(n: number): void {
  const group = join(site.archive, volume, site.sessions(volume)[0] ?? "", "000000000");
  const path = join(group, readdirSync(group).sort()[n] ?? "");
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 8;
  writeFileSync(path, bytes);
}

const digests = new Map<string, string>();
function note(): void {
  digests.set(site.sessions(volume).at(-1) ?? "", sha256(device(volume)));
}

function expectWhole(what: string, sessions: number): void {
  site.good("-u", "check", "--read-data");
  for (const [session, digest] of digests)
    check(site.assembled(volume, session) === digest, `${what}: ${session} is not what it was`);
  const found = site.sessions(volume).length;
  check(found === sessions, `${what}: ${found} sessions, wanted ${sessions}`);
  const line = send();
  check(line["kind"] === "unchanged" && line["readBytes"] === 0, `${what}: ${JSON.stringify(line)}`);
  checkNothingLeft(site);
  say(`ok ${what}`);
}

send();
note();
write(volume, 2 * mib, 4096);
send();
note();
damage(3);
const found = site.sparsebak("-u", "check");
check(found.code === 5, `check: ${found.code}\n${found.stdout}\n${found.stderr}`);
const sent = send();
check(
  sent["kind"] === "incremental" && sent["chunks"] === 1 && sent["readBytes"] === 128 * 1024,
  `send: ${JSON.stringify(sent)}`,
);
expectWhole("put back by a send", 3);
damage(5);
const repaired = linesOf(site.good("-u", "--json", "check", "--repair", "--yes"));
check(
  repaired.some((each) => each["heldChunks"] === 1),
  JSON.stringify(repaired),
);
expectWhole("put back by a repair", 4);
say("done");
