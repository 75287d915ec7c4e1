// The stand-ins have to behave as the real programs were seen to, or what passes over them proves nothing.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { until } from "../../suites/transport/processes.ts";
import { qrexecLab, type QrexecLab, type QrexecLabOptions } from "./lab.ts";

const client = (lab: QrexecLab, call: string): readonly [string, readonly string[]] => [
  join(lab.machine.root("dom0"), "bin/qrexec-client"),
  ["-w", "5", "-d", "backup", "--", call],
];

function run(
  lab: QrexecLab,
  call: string,
  input = "",
): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(...client(lab, call), { input, encoding: "utf8" });
  return { status, stdout, stderr };
}

/** A client whose three streams are ours. */
function begin(lab: QrexecLab): ChildProcess {
  return spawn(...client(lab, "DEFAULT:QUBESRPC test.Service dom0"), { stdio: "pipe" });
}

const send = "DEFAULT:QUBESRPC test.Service dom0";
const oneVm: QrexecLabOptions = { vms: { backup: "running" } };

test("a service is looked for with its argument first, in three directories, the last of which is the template's", async () => {
  await using lab = qrexecLab(oneVm);
  const found = (): string => run(lab, "DEFAULT:QUBESRPC test.Service+arg dom0").stdout;
  const echo = (text: string): string =>
    `#!/bin/sh\necho ${text} "$#" "$1" "$QREXEC_SERVICE_ARGUMENT" "$PWD" "$USER"\n`;
  const rest = `1 arg arg ${lab.machine.root("backup")}/home/user user\n`;
  lab.service("backup", "test.Service", echo("template"), "/etc/qubes-rpc");
  expect(found()).toBe(`template ${rest}`);
  lab.service("backup", "test.Service", echo("local"), "/usr/local/etc/qubes-rpc");
  expect(found()).toBe(`local ${rest}`);
  lab.service("backup", "test.Service", echo("run"), "/run/qubes-rpc");
  expect(found()).toBe(`run ${rest}`);
  lab.service("backup", "test.Service+arg", echo("with argument"), "/etc/qubes-rpc");
  expect(found()).toBe(`with argument ${rest}`);
});

test("rpc-config's force-user wins; a syntax error, or more than 4096 bytes, fails the call", async () => {
  await using lab = qrexecLab(oneVm);
  lab.service("backup", "test.Service", "#!/bin/sh\necho $USER\n");
  const config = (text: string): void => lab.file("backup", "/etc/qubes/rpc-config/test.Service", text);
  expect(run(lab, "root:QUBESRPC test.Service dom0").stdout).toBe("root\n");
  config("# who\nforce-user='joe'\nwait-for-session=false\n");
  expect(run(lab, "root:QUBESRPC test.Service dom0").stdout).toBe("joe\n");
  for (const bad of [
    "force-user=joe\n",
    'force-user="joe"\n',
    "wait-for-session=no\n",
    `${"#".repeat(4097)}\n`,
  ]) {
    config(bad);
    expect(run(lab, send).status, bad).toBe(125);
  }
});

test("exit codes: missing, not executable, name too long, halted, killed, its own", async () => {
  await using lab = qrexecLab({ vms: { backup: "running", off: "halted" } });
  expect(run(lab, send).status).toBe(127);
  lab.file("backup", "/etc/qubes-rpc/test.Service", "#!/bin/sh\n");
  expect(run(lab, send).status).toBe(125);
  lab.service("backup", "test.Service", "#!/bin/sh\nkill -TERM $$\n");
  expect(run(lab, send).status).toBe(143);
  lab.service("backup", "test.Service", "#!/bin/sh\nexit 255\n");
  expect(run(lab, send).status).toBe(255);
  expect(run(lab, `DEFAULT:QUBESRPC test.Service+${"x".repeat(250)} dom0`).status).toBe(125);
  lab.machine.setState("backup", "halted");
  expect(run(lab, send).status).toBe(125);
});

test("a killed client is a clean end for the service, which runs on and gets EPIPE", async () => {
  await using lab = qrexecLab(oneVm);
  const noted = join(lab.directory, "noted");
  const program = join(lab.directory, "service.mjs");
  lab.file(
    "backup",
    "../../../service.mjs",
    `import { writeFileSync } from "node:fs";
    let heard = 0;
    process.on("SIGTERM", () => writeFileSync(${JSON.stringify(noted)}, "signalled"));
    process.stdin.on("data", (bytes) => (heard += bytes.length)).on("end", () => process.stdout.write("x".repeat(100000)));
    process.stdout.on("error", (error) => writeFileSync(${JSON.stringify(noted)}, heard + " " + error.code));
    console.log("ready");`,
  );
  lab.service("backup", "test.Service", `#!/bin/sh\nexec ${process.execPath} ${program}\n`);
  const child = begin(lab);
  child.stdin!.on("error", () => {}).write("12345");
  await once(child.stdout!, "data");
  process.kill(child.pid!, "SIGKILL");
  await until(() => existsSync(noted));
  expect(readFileSync(noted, "utf8")).toMatch(/^[05] EPIPE$/);
});

test("a client whose stdout is closed goes on pulling, and ends well", async () => {
  await using lab = qrexecLab(oneVm);
  lab.service("backup", "test.Service", "#!/bin/sh\nhead -c 3000000 /dev/zero\n");
  const child = begin(lab);
  child.stdout!.destroy();
  expect(await once(child, "exit")).toEqual([0, null]);
});

test("a service that closes its input still gets to say all it has to", async () => {
  await using lab = qrexecLab(oneVm);
  lab.service("backup", "test.Service", "#!/bin/sh\nexec <&-\nsleep 0.3\necho done\n");
  expect(run(lab, send, "x".repeat(3_000_000))).toEqual({ status: 0, stdout: "done\n", stderr: "" });
});

test("a direction that stands still holds about half a megabyte, and does not hold up the other", async () => {
  await using lab = qrexecLab(oneVm);
  lab.service("backup", "test.Service", "#!/bin/sh\nhead -c 5000000 /dev/zero\nsleep 1000\n");
  const child = begin(lab);
  let taken = 0;
  const offer = (): void => {
    while (child.stdin!.write(Buffer.alloc(16_384))) taken += 16_384;
  };
  child.stdin!.on("drain", offer).on("error", () => {});
  offer();
  let heard = 0;
  child.stdout!.on("data", (bytes: Buffer) => (heard += bytes.length));
  await until(() => heard === 5_000_000);
  expect(taken).toBeLessThan(4_000_000);
  process.kill(child.pid!, "SIGKILL");
  await once(child, "exit");
});

test("a service's stdin and stdout are sockets, and a login shell speaks first", async () => {
  await using lab = qrexecLab(oneVm);
  lab.profile("backup", "echo good morning");
  const look = '[ -S /proc/self/fd/$fd ] && echo "socket $fd"';
  lab.service(
    "backup",
    "test.Service",
    `#!/bin/sh\nfor fd in 0 1; do ${look}; done; cat /dev/stdin 2>&1 | tail -c 26\n`,
  );
  const { stdout } = run(lab, send);
  expect(stdout).toBe("good morning\nsocket 0\nsocket 1\nNo such device or address\n");
});

test("policy: first match wins, none denies, a bad line or file name anywhere denies all", async () => {
  const call = async (
    policy: Readonly<Record<string, string>>,
    target: string,
  ): Promise<[number | null, string]> => {
    await using lab = qrexecLab({ vms: { work: "running", backup: "running", other: "halted" }, policy });
    for (const vm of ["backup", "other"])
      lab.service(vm, "test.Service", `#!/bin/sh\necho ${vm} $USER "$1"\n`);
    const { status, stdout } = spawnSync(lab.clientOf("work"), [target, "test.Service+a/b"], {
      encoding: "utf8",
    });
    return [status, stdout];
  };
  const allow = "test.Service +a_b work backup allow\n";
  expect(await call({}, "backup")).toEqual([126, ""]);
  expect(await call({ "30-a.policy": allow }, "backup")).toEqual([0, "backup user a_b\n"]);
  expect(await call({ "30-a.policy": allow }, "nowhere")).toEqual([126, ""]);
  expect(await call({ "30-a.policy": "test.Service * * * deny\n", "40-b.policy": allow }, "backup")).toEqual([
    126,
    "",
  ]);
  expect(await call({ "30-a.policy": allow, "40-b.policy": "nonsense\n" }, "backup")).toEqual([126, ""]);
  expect(await call({ "30-a.policy": allow, "40-B.policy": "" }, "backup")).toEqual([126, ""]);
  expect(await call({ "30-a.policy": allow, README: "not a policy" }, "backup")).toEqual([
    0,
    "backup user a_b\n",
  ]);
  const redirect = "test.Service * work @default allow target=other user=root\n";
  expect(await call({ "30-a.policy": redirect }, "@default")).toEqual([0, "other root a_b\n"]);
  expect(await call({ "30-a.policy": redirect.replace("\n", " autostart=no\n") }, "@default")).toEqual([
    126,
    "",
  ]);
  expect(await call({ "30-a.policy": allow.replace("allow", "ask") }, "backup")).toEqual([126, ""]);
});

test("dom0's own calls ask no policy", async () => {
  await using lab = qrexecLab({
    ...oneVm,
    policy: { "30-a.policy": "* * * * deny\n", "40-bad.policy": "nonsense\n" },
  });
  lab.service("backup", "test.Service", "#!/bin/sh\necho in\n");
  expect(run(lab, send)).toMatchObject({ status: 0, stdout: "in\n" });
});

test("qvm-start and qvm-check", async () => {
  await using lab = qrexecLab({ vms: { backup: "halted" } });
  const qvm = (name: string, ...args: string[]): number | null =>
    spawnSync(join(lab.machine.root("dom0"), "bin", name), args).status;
  expect(qvm("qvm-check", "backup")).toBe(0);
  expect(qvm("qvm-check", "--running", "backup")).toBe(1);
  expect(qvm("qvm-start", "backup")).toBe(0);
  expect(qvm("qvm-check", "--running", "-q", "backup")).toBe(0);
  expect(qvm("qvm-start", "backup")).toBe(1);
  expect(qvm("qvm-start", "--skip-if-running", "backup")).toBe(0);
  expect(qvm("qvm-start", "nowhere")).toBe(2);
  expect(qvm("qvm-check", "nowhere")).toBe(1);
});
