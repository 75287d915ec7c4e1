// Stand-in for a VM's `qrexec-client-vm`, for machines without Xen:
//   qrexec-client-vm [--] TARGET SERVICE[+ARG] [LOCAL-PROGRAM ARG…]
//
// Follows (facts: "Policy", "Exit codes", "What a service meets"): dom0's policy decides; a refusal and an unknown
// target print "Request refused" and give 126; characters that no argument may hold become `_` before policy sees
// them; `allow` may redirect, name a user, and forbid starting the target.
// Does not model: `ask`, which ends as a refusal; disposables; tags and types of VMs.

import { spawn } from "node:child_process";
import { join } from "node:path";
import { ownStreams, placeCall } from "./call.ts";
import { machineAt } from "./machine.ts";
import { evaluatePolicy } from "./policy.ts";

const [directory = "", source = "", ...rest] = process.argv.slice(2);
const [wanted = "", name = "", program, ...args] = rest[0] === "--" ? rest.slice(1) : rest;
const machine = machineAt(directory);

function refuse(): never {
  process.stderr.write("Request refused\n");
  process.exit(126);
}

const service = name.replaceAll(/[^A-Za-z0-9._+-]/g, "_");
const plus = service.indexOf("+");
const target = wanted === "dom0" ? "@adminvm" : wanted;
if (target !== "@adminvm" && target !== "@default" && machine.state(target) === undefined) refuse();

const verdict = evaluatePolicy(join(machine.root("dom0"), "etc/qubes/policy.d"), {
  service: plus < 0 ? service : service.slice(0, plus),
  argument: plus < 0 ? "+" : service.slice(plus),
  source,
  target,
});
if (verdict.action === "deny") refuse();
const chosen = verdict.target === "@adminvm" ? "dom0" : verdict.target;
if (chosen !== "dom0" && machine.state(chosen) !== "running") {
  if (machine.state(chosen) === undefined || !verdict.autostart || machine.startFailure(chosen) !== undefined)
    refuse();
  machine.setState(chosen, "running");
}

const own = ownStreams();
const local =
  program === undefined ? undefined : spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
const streams = local === undefined ? own : { stdin: local.stdout, stdout: local.stdin, stderr: own.stderr };
const placement = { target: chosen, source, service, user: verdict.user, client: process.pid };
process.exit(await placeCall(directory, placement, streams));
