// Stand-in for `ssh` and the sshd behind it, for machines without openssh-server: the command is run on this machine by
// a shell, behind a process of its own, so that killing ssh is to the command a clean end of its input. The account of
// a host is the VM of that name; a file `forced-command` in its home is what its key's `command="…"` would be.
//
// Follows ssh(1) and sshd(8): options as getopt reads them; 255 for ssh's own errors and for a command that a signal
// killed; the command's exit code otherwise; an unknown host, or one that is off, can't be reached.
// Does not model: keys, configuration files, anything that -o says; that sshd holds the end of stdout back until stderr
// is closed as well.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ownStreams, placeCall } from "./call.ts";
import { machineAt } from "./machine.ts";

const [directory = "", ...args] = process.argv.slice(2);
const { values, positionals } = parseArgs({
  args,
  allowPositionals: true,
  options: {
    T: { type: "boolean", short: "T" },
    o: { type: "string", short: "o", multiple: true },
    l: { type: "string", short: "l" },
    p: { type: "string", short: "p" },
  },
});
const [host = "", ...words] = positionals;
const machine = machineAt(directory);
if (machine.state(host) !== "running") {
  process.stderr.write(`ssh: connect to host ${host} port ${values.p ?? "22"}: No route to host\r\n`);
  process.exit(255);
}
const wished = words.join(" ");
const forced = join(machine.root(host), "home/user/forced-command");
const command = existsSync(forced) ? readFileSync(forced, "utf8") : wished;
const placement = {
  target: host,
  source: "ssh",
  service: wished,
  user: values.l ?? "",
  client: process.pid,
  command,
};
const code = await placeCall(directory, placement, ownStreams());
process.exit(code > 128 ? 255 : code);
