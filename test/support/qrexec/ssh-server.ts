// A real sshd on loopback with a key and a configuration of its own, for machines that have openssh-server. Everything
// is in a temporary directory; the account is that of whoever runs the test.

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import type { SshDestination } from "../../../dom0-agent/transport/destination.ts";

export interface SshServer extends AsyncDisposable {
  readonly destination: SshDestination;
  readonly directory: string;
  /** A tool path whose `ssh` knows the key and the host, and is the system's otherwise. */
  readonly toolPath: string;
  /** Makes `command` what the key may run, as docs/install.md tells users to. */
  force(command: string): void;
}

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Starts `sshd` (its absolute path) and waits until it listens. */
export async function sshServer(sshd: string): Promise<SshServer> {
  const directory = mkdtempSync(join(tmpdir(), "sshd-"));
  const path = (name: string): string => join(directory, name);
  for (const name of ["host", "key"]) {
    const made = spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path(name)]);
    if (made.status !== 0) throw new Error(`ssh-keygen: ${String(made.stderr)}`);
  }
  const port = await freePort();
  const user = userInfo().username;
  writeFileSync(
    path("sshd_config"),
    `ListenAddress 127.0.0.1:${port}\nHostKey ${path("host")}\nAuthorizedKeysFile ${path("authorized_keys")}\n` +
      "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n",
  );
  writeFileSync(path("authorized_keys"), "");
  writeFileSync(path("known_hosts"), `[127.0.0.1]:${port} ${readFileSync(path("host.pub"), "utf8")}`);
  writeFileSync(
    path("config"),
    `IdentityFile ${path("key")}\nIdentitiesOnly yes\nUserKnownHostsFile ${path("known_hosts")}\n`,
  );
  mkdirSync(path("bin"));
  writeFileSync(path("bin/ssh"), `#!/bin/sh\nexec /usr/bin/ssh -F ${path("config")} "$@"\n`, { mode: 0o755 });

  // Where a root sshd locks itself in before a login.
  if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true });
  const server = spawn(sshd, ["-D", "-e", "-f", path("sshd_config")], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  while (!log.includes("Server listening")) {
    const [text] = (await Promise.race([
      once(server.stderr, "data"),
      once(server, "exit").then(() => {
        throw new Error(`sshd does not start: ${log}`);
      }),
    ])) as [Buffer];
    log += String(text);
  }
  server.stderr.resume();

  return {
    destination: { user, host: "127.0.0.1", port },
    directory,
    toolPath: `${path("bin")}:${systemPath}`,
    force: (command) => {
      const key = readFileSync(path("key.pub"), "utf8");
      writeFileSync(path("authorized_keys"), `restrict,command="${command}" ${key}`);
    },
    [Symbol.asyncDispose]: async () => {
      server.kill();
      if (server.exitCode === null && server.signalCode === null) await once(server, "exit");
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { readonly port: number };
  probe.close();
  await once(probe, "close");
  return port;
}
