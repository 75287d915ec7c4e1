// Stand-in for dom0's `qrexec-client`, for machines without Xen:
//   qrexec-client [-t] [-T] [-w SECONDS] -d VM -- 'USER:QUBESRPC SERVICE[+ARG] SOURCE'
//
// Follows (facts: "The pipe", "Exit codes", "Calling"): no policy is asked; a VM that is not running gives 125; the
// service's own code, 128+n or 255 when the connection is lost; unfiltered stderr unless -T.
// Does not model: O_NONBLOCK left on inherited descriptors, the time that connecting takes, -l, -c and -e.

import { parseArgs } from "node:util";
import { ownStreams, placeCall } from "./call.ts";
import { machineAt } from "./machine.ts";

const [directory = "", ...args] = process.argv.slice(2);
const { values, positionals } = parseArgs({
  args,
  allowPositionals: true,
  options: {
    d: { type: "string", short: "d" },
    w: { type: "string", short: "w" },
    t: { type: "boolean", short: "t" },
    T: { type: "boolean", short: "T" },
  },
});
const streams = ownStreams();
const match = /^([^: ]+):QUBESRPC (\S+) (\S+)$/.exec(positionals.join(" "));
const target = values.d ?? "";

if (match === null || target === "" || !/^\d*$/.test(values.w ?? "")) {
  process.stderr.write("usage: qrexec-client [-w SECONDS] -d VM -- 'USER:QUBESRPC SERVICE SOURCE'\n");
  process.exit(1);
}
if (machineAt(directory).state(target) !== "running") {
  process.stderr.write(`Failed to connect to qrexec daemon of ${target}\n`);
  process.exit(125);
}
const [, user = "", service = "", source = ""] = match;
process.exit(await placeCall(directory, { target, source, service, user, client: process.pid }, streams));
