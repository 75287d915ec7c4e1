// In the guest: restoring, comparing and verifying on real thin volumes named as Qubes names them, through the command
// line: swap and what is kept of it, kills in the swap, in place, room in the pool, a VM that runs, `qvm-volume import`
// (a stand-in), diff beside a monitor.

import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, linesOf, mib, must, say, sha256 } from "../backup/guest-program.ts";
import { checkNothingLeft, makeGuestSite } from "../backup/guest-site.ts";
import { device, exists, startVm, stopVm, write } from "../backup/guest-volumes.ts";
import { installQubesTools } from "./qubes-tools.ts";

const work = "vm-work-private";
const mail = "vm-my-mail-private";
const site = makeGuestSite({ volumes: [work, mail], volumeSize: "32M", settings: ["chunk-size = 64K"] });
const tools = "/run/qubes-tools";

type Line = Readonly<Record<string, unknown>>;

function good(...args: readonly string[]): Line {
  return linesOf(site.good("--json", ...args)).find((line) => line["type"] === "volume") ?? {};
}

function refused(code: number, message: RegExp, ...args: readonly string[]): void {
  const ran = site.sparsebak(...args);
  const text = `${args.join(" ")}: ${ran.code}\n${ran.stdout}\n${ran.stderr}`;
  check(ran.code === code && message.test(ran.stderr), `wanted ${code} ${message.source}, found ${text}`);
}

function lvs(field: string, name: string): string {
  return must("lvs", "--noheadings", "-o", field, `qubes_dom0/${name}`).trim();
}

/** A part of the story. What goes wrong in it is said, and the next part is tried all the same. */
async function section(name: string, run: () => void | Promise<void>): Promise<void> {
  try {
    await run();
    say(`ok ${name}`);
  } catch (error) {
    process.exitCode = 1;
    say(`failed ${name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    say(must("lvs", "-o", "lv_name,lv_attr,lv_size,lv_tags,data_percent"));
  }
}

/** Names in the group that only a restore makes. */
function restoreNames(): readonly string[] {
  return must("lvs", "--noheadings", "-o", "lv_name", "qubes_dom0")
    .split("\n")
    .map((line) => line.trim())
    .filter((name) => /\.restore$|\.old-|\.look-|-import$/.test(name));
}

function confirm(): void {
  site.good("receive", "--confirm", work, mail);
  check(restoreNames().length === 0, `left: ${restoreNames().join(" ")}`);
}

write(work, 0, 3 * mib);
write(work, 20 * mib + 4096, mib);
write(mail, 5 * mib, mib);
const first = sha256(device(work));
const session = String(good("-u", "send")["session"]);
check(session.startsWith("S_"), `no session: ${session}`);

await section("swap", () => {
  // The swap: what is restored begins as a snapshot of the last one, of which only what differs is fetched.
  write(work, mib, 64 * 1024);
  must("blkdiscard", "-o", String(20 * mib), "-l", String(4 * mib), device(work));
  write(work, 30 * mib, 64 * 1024);
  const changed = sha256(device(work));
  const swapped = good("receive", work);
  check(sha256(device(work)) === first, "receive: the volume is not what was sent");
  check(
    swapped["fetchedBytes"] === 0,
    `with the snapshot as its base nothing is fetched: ${String(swapped["fetchedBytes"])}`,
  );
  const kept = String(swapped["kept"]);
  check(sha256(device(kept)) === changed, "the old volume is not what it was");
  check(lvs("lv_tags", work) === "", `tags of the restored volume: ${lvs("lv_tags", work)}`);
  check(lvs("lv_tags", kept).startsWith("sparsebak,sparsebak-"), `tags of ${kept}: ${lvs("lv_tags", kept)}`);
  check(good("diff", work)["differingBytes"] === 0, "diff after the restore");
});
await section("confirm", () => {
  good("-u", "send");
  check(site.assembled(work) === first, "a send after a restore");
  // Where nothing has the volume's name, what is kept of it may be all that there is.
  must("lvrename", `qubes_dom0/${work}`, `${work}-away`);
  const left = site.sparsebak("receive", "--confirm", work);
  check(left.code === 1 && /all that is left of it/.test(left.stdout), `${left.stdout}${left.stderr}`);
  check(restoreNames().length === 1, `the last of a volume is gone: ${restoreNames().join(" ")}`);
  must("lvrename", `qubes_dom0/${work}-away`, work);
  confirm();
});

await section("sizes", () => {
  // Without the base everything is fetched; a damaged base costs nothing but time.
  const whole = good("receive", work, "--no-base");
  check(sha256(device(work)) === first && Number(whole["fetchedBytes"]) > 0, "receive --no-base");
  check(lvs("lv_size", work).startsWith("32"), `size ${lvs("lv_size", work)}`);
  confirm();
  must("lvremove", "-f", `qubes_dom0/${mail}`);
  good("receive", mail);
  check(exists(mail), "a volume that was gone is not back");
  must("lvextend", "-L", "48M", `qubes_dom0/${mail}`);
  write(mail, 40 * mib, mib);
  good("receive", mail);
  check(lvs("lv_size", mail).startsWith("32"), `a volume that had grown: ${lvs("lv_size", mail)}`);
  check(good("diff", mail)["differingBytes"] === 0, "diff of the volume that had grown");
  confirm();
});

await section("in place", () => {
  // In place, whole and sparse.
  write(work, 9 * mib, 64 * 1024);
  const uuid = lvs("lv_uuid", work);
  const sparse = good("receive", work, "--in-place", "--sparse-write");
  check(sha256(device(work)) === first && lvs("lv_uuid", work) === uuid, "--in-place --sparse-write");
  // It was a hole, and a whole chunk of the pool.
  const { writtenBytes, discardedBytes } = sparse;
  check(
    writtenBytes === 0 && discardedBytes === 64 * 1024,
    `written ${String(writtenBytes)}, discarded ${String(discardedBytes)}`,
  );
  // A volume that is full occupies afterwards what its data does: 4 MiB of 32, and what shares a chunk with them.
  write(work, 0, 31 * mib);
  check(Number(lvs("data_percent", work)) > 90, `full: ${lvs("data_percent", work)}`);
  good("receive", work, "--in-place");
  check(sha256(device(work)) === first && restoreNames().length === 0, "--in-place");
  check(Number(lvs("data_percent", work)) < 15, `--in-place occupies ${lvs("data_percent", work)} %`);
});

await section("running", async () => {
  // A VM that runs: its volume is left alone.
  const running = startVm(work);
  for (const option of [[], ["--in-place"]]) refused(1, /its VM runs/, "receive", work, ...option);
  // ... but can be compared, beside a monitor, which leaves the snapshot that diff looks at alone.
  write(`${work}-snap`, 2 * mib, 64 * 1024);
  await diffBesideMonitor();
  stopVm(work, running);
});

await section("room", () => {
  // Room in the pool is looked at first.
  const ini = readFileSync(site.ini, "utf8");
  const percent = Math.ceil(Number(lvs("data_percent", "vm-pool")));
  writeFileSync(site.ini, ini.replace("[volumes]", `max-data-percent = ${percent}\n[volumes]`));
  write(mail, 0, 24 * mib);
  writeFileSync(
    site.ini,
    ini.replace(
      "[volumes]",
      `max-data-percent = ${Math.ceil(Number(lvs("data_percent", "vm-pool")))}\n[volumes]`,
    ),
  );
  good("-u", "send", mail);
  must("lvremove", "-f", `qubes_dom0/${mail}`, `qubes_dom0/${mail}.tick`);
  const free = Math.ceil(Number(lvs("data_percent", "vm-pool")));
  writeFileSync(site.ini, ini.replace("[volumes]", `max-data-percent = ${free}\n[volumes]`));
  refused(1, /MiB would be mapped/, "receive", mail);
  check(!exists(mail) && restoreNames().length === 0, "a restore without room left something");
  writeFileSync(site.ini, ini);
  good("receive", mail);
});

await section("kills", killsInTheSwap);

await section("import", () => {
  // A machine with Qubes' own tools: a VM's volume goes through them.
  installQubesTools(tools, "qubes_dom0");
  process.env["SPARSEBAK_TOOL_PATH"] = `${tools}:${process.env["PATH"] ?? ""}`;
  refused(1, /there is no VM work/, "receive", work);
  writeFileSync(join(tools, "vms", "work"), "running");
  refused(1, /VM work runs/, "receive", work);
  writeFileSync(join(tools, "vms", "work"), "halted");
  write(work, 4 * mib, mib);
  const before = sha256(device(work));
  // Here too room in the pool is looked at first.
  const ini = readFileSync(site.ini, "utf8");
  const percent = Math.floor(Number(lvs("data_percent", "vm-pool")));
  writeFileSync(site.ini, ini.replace("[volumes]", `max-data-percent = ${percent}\n[volumes]`));
  refused(1, /MiB would be mapped/, "receive", work);
  writeFileSync(site.ini, ini);
  check(sha256(device(work)) === before, "an import without room has changed the volume");
  const archived = join(site.archive, work, session);
  const [group = ""] = readdirSync(archived).filter((name) => /^[0-9a-f]{9}$/.test(name));
  const [chunk = ""] = readdirSync(join(archived, group)).slice(-1);
  const path = join(archived, group, chunk);
  const bytes = readFileSync(path);
  writeFileSync(path, Buffer.from(bytes.map((byte, i) => (i === 30 ? byte ^ 1 : byte))));
  refused(5, /is damaged/, "receive", work);
  check(sha256(device(work)) === before, "an import that failed has changed the volume");
  check(restoreNames().length === 0, `left by an import that failed: ${restoreNames().join(" ")}`);
  writeFileSync(path, bytes);
  good("receive", work);
  check(sha256(device(work)) === first, "import: the volume is not what was sent");
});

await section("end", () => {
  check(good("verify", work, "--all-sessions")["ok"] === true, "verify");
  checkNothingLeft(site);
});
say("done");

async function diffBesideMonitor(): Promise<void> {
  const program = join(process.env["LAB_PROJECT"] ?? "", "dist/lib/sparsebak.mjs");
  const child = spawn(process.execPath, [program, "--json", "diff", work], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  let beside = 0;
  // One that is still stopped would keep us waiting for ever.
  using _child = { [Symbol.dispose]: () => void child.kill("SIGKILL") };
  while (child.exitCode === null) {
    const looked = beside === 0 && restoreNames().some((name) => name.includes(".look-"));
    // Stopped, it can't end before the monitor has. Not while it holds the state's lock, which it does for moments.
    if (looked) child.kill("SIGSTOP");
    if (looked && spawnSync("flock", ["-n", "/sparsebak/lock", "true"]).status === 0) {
      write(`${work}-snap`, 3 * mib, 4096);
      const ran = site.sparsebak("monitor");
      check(ran.code === 0, `monitor beside diff: ${ran.stderr}`);
      check(
        restoreNames().some((name) => name.includes(".look-")),
        "monitor took the snapshot of a diff",
      );
      beside++;
    }
    if (looked) child.kill("SIGCONT");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  check((await ended) === 1, `diff beside monitor: ${stdout}`);
  const line = stdout.split("\n").find((each) => each.includes('"type":"volume"')) ?? "{}";
  check((JSON.parse(line) as Line)["differingBytes"] === 64 * 1024, `diff of the running VM: ${line}`);
  check(beside === 1, "no monitor ran beside the diff");
  check(restoreNames().length === 0, `left by diff: ${restoreNames().join(" ")}`);
}

/** Killed at each of the last things that a receive does: the volume is the old one or the new one, after the next
 *  monitor at the latest, and the next receive succeeds. */
async function killsInTheSwap(): Promise<void> {
  const steps = site.counted("receive", work);
  confirm();
  for (let n = steps - 14; n <= steps; n += 3) {
    write(work, 12 * mib, 4096);
    const old = sha256(device(work));
    const killed = site.killed(n, "receive", work);
    check(killed.signal === "SIGKILL", `step ${n} of ${steps}: ${killed.code} ${killed.stderr}`);
    good("monitor");
    check([old, first].includes(sha256(device(work))), `killed at ${n} of ${steps}: the volume is neither`);
    good("receive", work);
    check(sha256(device(work)) === first, `after a kill at ${n}: not restored`);
    confirm();
  }
}
