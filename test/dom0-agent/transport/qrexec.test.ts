// Over the stand-ins of test/support/qrexec: this machine has no Xen.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isVmName } from "../../../dom0-agent/transport/destination.ts";
import { qrexecTransport } from "../../../dom0-agent/transport/qrexec.ts";
import { TransportError } from "../../../dom0-agent/transport/transport.ts";
import { connectionLost } from "../../../dom0-agent/transport/child-connection.ts";
import { qrexecLab, type QrexecLab } from "../../support/qrexec/lab.ts";
import { transportSuite } from "../../suites/transport.ts";
import { type TransportHarness } from "../../suites/transport/harness.ts";
import { until } from "../../suites/transport/processes.ts";
import { failureOf, readAll } from "../../suites/transport/reading.ts";

const never: AbortSignal = new AbortController().signal;

function useTools(lab: QrexecLab): void {
  process.env["SPARSEBAK_TOOL_PATH"] = lab.dom0Path;
}

async function qrexecHarness(): Promise<TransportHarness> {
  const lab = qrexecLab({ vms: { backup: "halted" } });
  useTools(lab);
  const directory = mkdtempSync(join(tmpdir(), "qrexec-transport-"));
  mkdirSync(join(directory, "notes"));
  const mark = lab.directory;
  const program = join(mark, "receiver.mjs");
  return {
    transport: qrexecTransport({ vm: "backup", start: true }),
    serve: (text) => {
      writeFileSync(program, text);
      lab.service(
        "backup",
        "sparsebak.Send",
        `#!/bin/sh\nexec ${process.execPath} ${program} sparsebak.Send\n`,
      );
    },
    loginNoise: (text) => lab.profile("backup", `printf %s '${text}'`),
    notes: join(directory, "notes"),
    mark,
    [Symbol.asyncDispose]: async () => {
      await lab[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

transportSuite("qrexec (stand-in for Xen)", qrexecHarness);

test("a halted VM is started; or not, when told not to", async () => {
  await using lab = qrexecLab({ vms: { backup: "halted" } });
  useTools(lab);
  lab.service("backup", "sparsebak.Send", "#!/bin/sh\necho up\n");
  {
    await using refused = await qrexecTransport({ vm: "backup", start: false }).open("sparsebak.Send", never);
    const end = await refused.ended;
    expect(end).toMatchObject({ exitCode: 125, unreachable: true });
    expect(end.meaning).toContain("VM backup is not running");
    expect(end.hint).toContain("qvm-start backup");
    expect(lab.machine.state("backup")).toBe("halted");
  }
  await using connection = await qrexecTransport({ vm: "backup", start: true }).open("sparsebak.Send", never);
  expect((await readAll(connection)).toString()).toBe("up\n");
  expect(lab.machine.state("backup")).toBe("running");
  expect(lab.calls()).toMatchObject([
    { target: "backup", source: "dom0", service: "sparsebak.Send", user: "user" },
  ]);
});

test("a VM that does not start, or does not exist, is unreachable, with what qvm-start said", async () => {
  await using lab = qrexecLab({ vms: { backup: "halted" } });
  useTools(lab);
  lab.file("backup", "../start", "Not enough memory to start \u001b[31mbackup");
  const full = await failureOf(qrexecTransport({ vm: "backup", start: true }).open("sparsebak.Send", never));
  expect(full).toBeInstanceOf(TransportError);
  expect(full).toMatchObject({
    unreachable: true,
    message: String.raw`start VM backup: qvm-start: Not enough memory to start \x1b[31mbackup`,
  });
  const unknown = await failureOf(
    qrexecTransport({ vm: "nowhere", start: true }).open("sparsebak.Send", never),
  );
  expect(unknown).toMatchObject({
    unreachable: true,
    message: expect.stringContaining("no such domain") as string,
  });
});

test("what the exit codes of qrexec mean", async () => {
  await using lab = qrexecLab({ vms: { backup: "running" } });
  useTools(lab);
  const transport = qrexecTransport({ vm: "backup", start: true });
  const endOf = async (
    service: "sparsebak.Send" | "sparsebak.Receive" | "sparsebak.Prune" | "sparsebak.Assemble",
  ) => {
    await using connection = await transport.open(service, never);
    expect((await readAll(connection)).length).toBe(0);
    return await connection.ended;
  };
  lab.service("backup", "sparsebak.Receive", "#!/no/such/interpreter\n");
  lab.file("backup", "/etc/qubes-rpc/sparsebak.Prune", "#!/bin/sh\n");
  lab.service("backup", "sparsebak.Assemble", "#!/bin/sh\necho refused >&2; exit 126\n");
  const missing = await endOf("sparsebak.Send");
  expect(missing).toMatchObject({ exitCode: 127, unreachable: true });
  expect(connectionLost(transport.name, "send", missing)).toMatchObject({
    message: "send: VM backup has no sparsebak.Send, or no Node.js to run it",
    hint: "install the receiver in VM backup or its template (docs/install.md)",
  });
  expect(await endOf("sparsebak.Receive")).toMatchObject({ exitCode: 127, unreachable: true });
  expect(await endOf("sparsebak.Prune")).toMatchObject({ exitCode: 125, unreachable: true });
  expect(await endOf("sparsebak.Assemble")).toMatchObject({
    exitCode: 126,
    unreachable: true,
    stderr: "refused",
  });
  lab.service("backup", "sparsebak.Send", "#!/bin/sh\nkill -9 $$\n");
  expect(await endOf("sparsebak.Send")).toMatchObject({ exitCode: 137, unreachable: false });
});

test("a connection that is lost in mid-call is not called unreachable", async () => {
  await using lab = qrexecLab({ vms: { backup: "running" } });
  useTools(lab);
  lab.service("backup", "sparsebak.Send", "#!/bin/sh\necho begun\nexec cat\n");
  await using connection = await qrexecTransport({ vm: "backup", start: true }).open("sparsebak.Send", never);
  const chunks = connection.incoming[Symbol.asyncIterator]();
  await chunks.next();
  await until(() => lab.calls().length === 1);
  process.kill(lab.calls()[0]!.agent, "SIGKILL");
  expect((await chunks.next()).done).toBe(true);
  expect(await connection.ended).toMatchObject({
    exitCode: 255,
    unreachable: false,
    meaning: "the connection to VM backup was lost",
  });
});

test("a service whose background child holds stdout keeps the call open until it lets go", async () => {
  await using lab = qrexecLab({ vms: { backup: "running" } });
  useTools(lab);
  lab.service("backup", "sparsebak.Send", "#!/bin/sh\n(read line; echo late) <&0 &\nexit 0\n");
  lab.service("backup", "sparsebak.Receive", "#!/bin/sh\n(sleep 0.3; echo late) &\necho early\nexit 4\n");
  await using connection = await qrexecTransport({ vm: "backup", start: true }).open(
    "sparsebak.Receive",
    never,
  );
  expect((await readAll(connection)).toString()).toBe("early\nlate\n");
  expect((await connection.ended).exitCode).toBe(4);
});

test("without Qubes, the missing program is named", async () => {
  process.env["SPARSEBAK_TOOL_PATH"] = "/nonexistent";
  const error = await failureOf(
    qrexecTransport({ vm: "backup", start: false }).open("sparsebak.Send", never),
  );
  expect(error).toMatchObject({
    unreachable: true,
    message: "connect to VM backup: qrexec-client: program not found",
    hint: expect.stringContaining("dom0") as string,
  });
});

test("names of VMs", () => {
  for (const good of ["a", "backup", "sys-usb", "Work_2", "a".repeat(31)])
    expect(isVmName(good), good).toBe(true);
  for (const bad of ["", "-d", "1vm", "_x", "a b", "a.b", "a;b", "@dispvm", "ä", "a\n", "a".repeat(32)]) {
    expect(isVmName(bad), bad).toBe(false);
    expect(() => qrexecTransport({ vm: bad, start: true })).toThrow(TransportError);
  }
});
