// Stand-in for qrexec-daemon and qrexec-agent, for machines without Xen: one process for each call, not a child of
// the client's group, so that killing the client is to the service what it is on Qubes: a clean end of its input.
//
// Follows: the service is started through a login shell (whatever a profile prints comes first), as a child with
// sockets for stdin and stdout, from its home, with QREXEC_* in its environment; it is not signalled when the client
// dies; its exit code, or 128+n, is sent once its stdout and stderr are closed by all who hold them.
// Does not model: the user (it runs as whoever runs the test, USER says what it would be), waiting for a session,
// socket services, skip-service-descriptor and its kin, Xen's own timing.
//
// Started by call.ts: node agent.ts MACHINE CALL-AS-JSON, with the data channel on fd 3.

import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { Socket } from "node:net";
import { constants } from "node:os";
import { join } from "node:path";
import type { Placement } from "./call.ts";
import { linkOver } from "./link.ts";
import { machineAt } from "./machine.ts";
import { lookUpService } from "./service-lookup.ts";

interface Start {
  readonly args: readonly string[];
  readonly user: string;
  readonly env: Readonly<Record<string, string>>;
}

const [machineDirectory = "", placementText = ""] = process.argv.slice(2);
const machine = machineAt(machineDirectory);
const placement = JSON.parse(placementText) as Placement;
const { target, source, service, client } = placement;
const root = machine.root(target);
const call = { agent: process.pid, client, target, source, service };
const socket = new Socket({ fd: 3 });
const link = linkOver(socket);

function qrexecStart(): Start | number {
  const found = lookUpService(root, service, placement.user);
  if ("exitCode" in found) return found.exitCode;
  const plus = service.indexOf("+");
  const argument = plus < 0 ? undefined : service.slice(plus + 1);
  return {
    args: [
      "-l",
      "-c",
      'exec "$0" "$@"',
      found.path,
      ...(argument === undefined || argument === "" ? [] : [argument]),
    ],
    user: found.user,
    env: {
      QREXEC_REMOTE_DOMAIN: source,
      QREXEC_SERVICE_FULL_NAME: service,
      QREXEC_AGENT_PID: String(process.pid),
      ...(argument === undefined ? {} : { QREXEC_SERVICE_ARGUMENT: argument }),
    },
  };
}

/** As sshd starts a command: by the user's shell, not as a login. */
function sshStart(command: string): Start {
  return { args: ["-c", command], user: placement.user, env: { SSH_ORIGINAL_COMMAND: service } };
}

const start = placement.command === undefined ? qrexecStart() : sshStart(placement.command);
if (typeof start === "number") {
  machine.record({ ...call, pid: undefined, user: "" });
  link.sendExit(start);
} else {
  const home = join(root, "home", "user");
  mkdirSync(home, { recursive: true });
  const account = { HOME: home, USER: start.user, LOGNAME: start.user, SHELL: "/bin/sh" };
  const path = `${join(root, "usr/local/bin")}:/usr/local/bin:/usr/bin:/bin`;
  const child = spawn("/bin/sh", start.args, {
    cwd: home,
    stdio: "pipe",
    env: { ...account, PATH: path, ...start.env },
  });
  machine.record({ ...call, pid: child.pid, user: start.user });
  link.receive("stdin", child.stdin);
  link.send("stdout", child.stdout);
  link.send("stderr", child.stderr);
  // The client is gone: a clean end of input for the service, and EPIPE for what it still has to say.
  socket.on("close", () => {
    child.stdin.end();
    child.stdout.destroy();
    child.stderr.destroy();
  });
  // `close` waits for everyone who holds stdout or stderr, as the real agent does.
  child.on("close", (code, signal) => {
    link.sendExit(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
  });
}
