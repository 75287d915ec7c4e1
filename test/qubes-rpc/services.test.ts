// The installed services, called through the stand-in for qrexec: install, look up, service script, launcher, program.

import { spawnSync } from "node:child_process";
import { rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { qrexecTransport } from "../../dom0-agent/transport/qrexec.ts";
import { readAll } from "../suites/transport/reading.ts";
import { qrexecLab, type QrexecLab } from "../support/qrexec/lab.ts";
import { installLab, serviceNames } from "./installer.ts";

const never: AbortSignal = new AbortController().signal;

interface Started {
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly flags: readonly string[];
}

const layouts = [
  { option: "--app-vm", programs: "usr/local/lib/sparsebak" },
  { option: "--template", programs: "usr/lib/sparsebak" },
] as const;

/** Installs the receiver into the lab's qube, with the Node that runs this test as its private one. */
function installInto(lab: QrexecLab, { option, programs }: (typeof layouts)[number]): void {
  process.env["SPARSEBAK_TOOL_PATH"] = lab.dom0Path;
  const root = lab.machine.root("backup");
  using installer = installLab(root);
  expect(installer.install("vm", option).status).toBe(0);
  symlinkSync(process.execPath, join(root, programs, "lib/node"));
}

for (const layout of layouts) {
  test(`every service starts and speaks (${layout.option})`, async () => {
    await using lab = qrexecLab({ vms: { backup: "running" } });
    installInto(lab, layout);
    for (const service of serviceNames) {
      await using connection = await qrexecTransport({ vm: "backup", start: false }).open(service, never);
      await connection.write(Buffer.from("hello"));
      await connection.end();
      const [first = "", ...rest] = (await readAll(connection)).toString().split("\n");
      const started = JSON.parse(first) as Started;
      expect(rest.join("\n")).toBe("hello");
      expect(started.args).toEqual([service]);
      expect(started.flags).toContain("--disable-sigusr1");
      expect(started.environment).toMatchObject({
        QREXEC_REMOTE_DOMAIN: "dom0",
        QREXEC_SERVICE_FULL_NAME: service,
      });
      expect(await connection.ended).toMatchObject({ exitCode: 0, stderr: "" });
    }
    // None was made root by its configuration.
    expect(lab.calls().map((call) => call.user)).toEqual(["user", "user", "user", "user"]);
  });
}

test("an argument never becomes one of the program's; that there was one, it can see", async () => {
  await using lab = qrexecLab({
    vms: { backup: "running", work: "running" },
    policy: { "30-user.policy": "sparsebak.Send * work backup allow\n" },
  });
  installInto(lab, layouts[0]);
  const call = spawnSync(lab.clientOf("work"), ["backup", "sparsebak.Send+--settings"], {
    input: "",
    encoding: "utf8",
  });
  const started = JSON.parse(call.stdout) as Started;
  expect(started.args).toEqual(["sparsebak.Send"]);
  expect(started.environment).toMatchObject({
    QREXEC_REMOTE_DOMAIN: "work",
    QREXEC_SERVICE_FULL_NAME: "sparsebak.Send+--settings",
  });
});

test("without its program a service says so, and the caller hears that nothing is installed", async () => {
  await using lab = qrexecLab({ vms: { backup: "running" } });
  installInto(lab, layouts[0]);
  rmSync(join(lab.machine.root("backup"), "usr/local/lib/sparsebak"), { recursive: true });
  await using connection = await qrexecTransport({ vm: "backup", start: false }).open(
    "sparsebak.Send",
    never,
  );
  expect((await readAll(connection)).length).toBe(0);
  expect(await connection.ended).toMatchObject({
    exitCode: 127,
    unreachable: true,
    stderr: "sparsebak: error: the program of sparsebak.Send is not installed",
  });
});
