// Over a real sshd on loopback, the system's or the one that ./run setup has unpacked; without, over the stand-in of
// test/support/qrexec.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parseSshDestination } from "../../../dom0-agent/transport/destination.ts";
import { sshTransport } from "../../../dom0-agent/transport/ssh.ts";
import { TransportError } from "../../../dom0-agent/transport/transport.ts";
import { qrexecLab } from "../../support/qrexec/lab.ts";
import { sshServer } from "../../support/qrexec/ssh-server.ts";
import { transportSuite } from "../../suites/transport.ts";
import { type TransportHarness } from "../../suites/transport/harness.ts";
import { readAll } from "../../suites/transport/reading.ts";

const never: AbortSignal = new AbortController().signal;
const unpacked = fileURLToPath(new URL("../../.cache/sshd/sshd", import.meta.url));
const sshd = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", unpacked].find((path) => existsSync(path));

async function standInHarness(): Promise<TransportHarness> {
  const lab = qrexecLab({ vms: { nas: "running" } });
  process.env["SPARSEBAK_TOOL_PATH"] = lab.dom0Path;
  const directory = mkdtempSync(join(tmpdir(), "ssh-transport-"));
  mkdirSync(join(directory, "notes"));
  const program = join(lab.directory, "receiver.mjs");
  return {
    transport: sshTransport({ user: "backup", host: "nas", port: undefined }),
    serve: (text) => {
      writeFileSync(program, text);
      lab.file("nas", "/home/user/forced-command", `exec ${process.execPath} ${program} sparsebak.Send`);
    },
    notes: join(directory, "notes"),
    mark: lab.directory,
    [Symbol.asyncDispose]: async () => {
      await lab[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function sshdHarness(): Promise<TransportHarness> {
  const server = await sshServer(sshd ?? "");
  process.env["SPARSEBAK_TOOL_PATH"] = server.toolPath;
  const notes = join(server.directory, "notes");
  mkdirSync(notes);
  const program = join(server.directory, "receiver.mjs");
  return {
    transport: sshTransport(server.destination),
    serve: (text) => {
      writeFileSync(program, text);
      server.force(`exec ${process.execPath} ${program} sparsebak.Send`);
    },
    notes,
    mark: program,
    [Symbol.asyncDispose]: async () => server[Symbol.asyncDispose](),
  };
}

if (sshd !== undefined) transportSuite("ssh (sshd on loopback)", sshdHarness);
else {
  test.skip("ssh over a real sshd: no openssh-server (./run setup fetches it); the stand-in is used instead", () => {});
  transportSuite("ssh (stand-in for sshd)", standInHarness);
}

describe("ssh (stand-in)", () => {
  test("asks for the service by name and says who could not be reached", async () => {
    await using lab = qrexecLab({ vms: { nas: "running" } });
    process.env["SPARSEBAK_TOOL_PATH"] = lab.dom0Path;
    lab.file(
      "nas",
      "/usr/local/bin/sparsebak.Send",
      "#!/bin/sh\necho $0 $# $USER $SSH_ORIGINAL_COMMAND\n",
      0o755,
    );
    await using found = await sshTransport({ user: "backup", host: "nas", port: 2222 }).open(
      "sparsebak.Send",
      never,
    );
    expect((await readAll(found)).toString()).toMatch(/sparsebak\.Send 0 backup sparsebak\.Send\n$/);
    await using missing = await sshTransport({ user: "backup", host: "nas", port: 22 }).open(
      "sparsebak.Prune",
      never,
    );
    expect(await missing.ended).toMatchObject({ exitCode: 127, unreachable: true });
    await using away = await sshTransport({ user: "backup", host: "away", port: 22 }).open(
      "sparsebak.Send",
      never,
    );
    const end = await away.ended;
    expect(end).toMatchObject({ exitCode: 255, unreachable: true });
    expect(end.stderr).toBe("ssh: connect to host away port 22: No route to host");
  });

  test("a connection lost after the first byte is not called unreachable", async () => {
    await using lab = qrexecLab({ vms: { nas: "running" } });
    process.env["SPARSEBAK_TOOL_PATH"] = lab.dom0Path;
    lab.file("nas", "/usr/local/bin/sparsebak.Send", "#!/bin/sh\necho begun; kill -9 $$\n", 0o755);
    await using connection = await sshTransport({ user: "backup", host: "nas", port: 22 }).open(
      "sparsebak.Send",
      never,
    );
    expect((await readAll(connection)).toString()).toBe("begun\n");
    expect(await connection.ended).toMatchObject({ exitCode: 255, unreachable: false });
  });
});

describe("the real ssh client", () => {
  const client = spawnSync("ssh", ["-V"]).status === 0;
  test.skipIf(!client)(
    client ? "accepts our options" : "accepts our options: no ssh on this machine",
    async () => {
      delete process.env["SPARSEBAK_TOOL_PATH"];
      // A port that nobody listens on: our options are read before it connects.
      await using connection = await sshTransport({ user: "nobody", host: "127.0.0.1", port: 1 }).open(
        "sparsebak.Send",
        never,
      );
      expect((await readAll(connection)).length).toBe(0);
      const end = await connection.ended;
      expect(end).toMatchObject({ exitCode: 255, unreachable: true });
      expect(end.stderr).toContain("port 1: Connection refused");
    },
  );
});

test("what ssh is told: nothing of the destination can be an option, and each service has its own key", async () => {
  const directory = mkdtempSync(join(tmpdir(), "ssh-options-"));
  try {
    writeFileSync(join(directory, "ssh"), `#!/bin/sh\nprintf '%s\\n' "$@"\n`, { mode: 0o755 });
    mkdirSync(join(directory, ".ssh"));
    writeFileSync(join(directory, ".ssh/sparsebak.Prune"), "");
    process.env["SPARSEBAK_TOOL_PATH"] = directory;
    const told = async (service: "sparsebak.Send" | "sparsebak.Prune"): Promise<string[]> => {
      const transport = sshTransport({ user: "backup", host: "nas", port: 2222 }, directory);
      await using connection = await transport.open(service, never);
      return (await readAll(connection)).toString().trimEnd().split("\n");
    };
    const send = await told("sparsebak.Send");
    expect(send.slice(-7)).toEqual(["-p", "2222", "-l", "backup", "--", "nas", "sparsebak.Send"]);
    for (const option of ["BatchMode=yes", "ClearAllForwardings=yes", "StrictHostKeyChecking=yes"]) {
      expect(send[send.indexOf(option) - 1], option).toBe("-o");
    }
    expect(send.filter((each) => each.startsWith("Identit"))).toEqual([]);
    const prune = await told("sparsebak.Prune");
    expect(prune.filter((each) => each.startsWith("Identit"))).toEqual([
      "IdentityFile=~/.ssh/sparsebak.Prune",
      "IdentitiesOnly=yes",
    ]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("destinations", () => {
  expect(parseSshDestination("ssh://user@host")).toEqual({ user: "user", host: "host", port: undefined });
  expect(parseSshDestination("ssh://b.k-1@nas.example.org:2222")).toMatchObject({
    user: "b.k-1",
    port: 2222,
  });
  expect(parseSshDestination("ssh://u@[fe80::1]:22")).toMatchObject({ host: "fe80::1", port: 22 });
  const bad = [
    "ssh://host",
    "ssh://@host",
    "ssh://user@",
    "ssh://-oProxyCommand=x@host",
    "ssh://user@-oProxyCommand=x",
    "ssh://user@host:0",
    "ssh://user@host:65536",
    "ssh://user@host/path",
    "ssh://user@host name",
    "ssh://us er@host",
    "ssh://user@host\n",
    "ssh://user@ho$(id)st",
    "ssh://user@%h",
    "ssh://user@[-x]",
    "ssh://user:password@host",
    "ssh://user@a@b",
    `ssh://user@${"a.".repeat(150)}b`,
  ];
  for (const each of bad) expect(parseSshDestination(each), each).toBeUndefined();
  expect(() => sshTransport({ user: "-l", host: "x", port: undefined })).toThrow(TransportError);
});
