// dom0's policy, read as qrexec's own parser reads it: files in C order, first match wins, no match denies, and one bad
// line or file name anywhere denies every call. A stand-in: directives (`!include` …) and tags count as bad lines here.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Call {
  readonly service: string;
  /** With its `+`; `+` alone for none. */
  readonly argument: string;
  readonly source: string;
  /** A VM's name, `@adminvm`, `@default` or `@dispvm`. */
  readonly target: string;
}

export type Verdict =
  | { readonly action: "deny"; readonly why: string }
  | { readonly action: "allow"; readonly target: string; readonly user: string; readonly autostart: boolean };

interface Rule extends Call {
  readonly action: string;
  readonly params: ReadonlyMap<string, string>;
}

const paramsOf: Readonly<Record<string, readonly string[]>> = {
  allow: ["target", "user", "notify", "autostart"],
  ask: ["target", "default_target", "user", "notify", "autostart"],
  deny: ["notify"],
};

/** What dom0's policy says to a call that a VM makes. Calls of dom0 itself never come here. */
export function evaluatePolicy(policyDirectory: string, call: Call): Verdict {
  let rules: Rule[];
  try {
    rules = readPolicy(policyDirectory);
  } catch (error) {
    return { action: "deny", why: `syntax error: ${error instanceof Error ? error.message : String(error)}` };
  }
  const rule = rules.find((each) => matches(each, call));
  if (rule === undefined) return { action: "deny", why: "no matching rule" };
  // Nobody is there to answer: `ask` ends as a real one does whose window is closed.
  if (rule.action !== "allow") return { action: "deny", why: `denied by policy (${rule.action})` };
  const target = alias(rule.params.get("target") ?? call.target);
  return {
    action: "allow",
    target,
    user: rule.params.get("user") ?? "DEFAULT",
    autostart: rule.params.get("autostart") !== "no",
  };
}

function readPolicy(directory: string): Rule[] {
  if (!existsSync(directory)) return [];
  const names = readdirSync(directory).filter((name) => name.endsWith(".policy") && !name.startsWith("."));
  const bad = names.find((name) => !/^[0-9a-z_.-]+$/.test(name));
  if (bad !== undefined) throw new Error(`invalid filename: ${bad}`);
  return names.sort().flatMap((name) => parsePolicy(readFileSync(join(directory, name), "utf8"), name));
}

/** The rules of one file. Throws Error with file name and line for the first bad one. */
export function parsePolicy(text: string, name: string): Rule[] {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.flatMap((line, index) => {
    if (line === "" || line.startsWith("#")) return [];
    const bad = (why: string): Error => new Error(`${name}:${index + 1}: ${why}`);
    const [service = "", argument = "", source = "", target = "", action = "", ...rest] = line.split(/\s+/);
    if (action === "") throw bad("wrong number of fields");
    if (service !== "*" && !/^[A-Za-z0-9_.-]+$/.test(service)) throw bad(`invalid service ${service}`);
    if (argument !== "*" && !/^\+[A-Za-z0-9_.+-]*$/.test(argument)) throw bad(`invalid argument ${argument}`);
    if (service === "*" && argument !== "*") throw bad("only * argument allowed for * service");
    if (!isToken(source, false)) throw bad(`invalid source ${source}`);
    if (!isToken(target, true)) throw bad(`invalid target ${target}`);
    const allowed = paramsOf[action];
    if (allowed === undefined) throw bad(`invalid action ${action}`);
    const params = new Map<string, string>();
    for (const param of rest) {
      const [, key = "", value = ""] = /^([^=]*)=(.*)$/.exec(param) ?? [];
      if (!allowed.includes(key) || params.has(key)) throw bad(`invalid parameter ${param}`);
      if ((key === "notify" || key === "autostart") && value !== "yes" && value !== "no")
        throw bad(`invalid ${param}`);
      if (key.endsWith("target") && !isToken(value, true)) throw bad(`invalid ${param}`);
      params.set(key, value);
    }
    if (target === "@default" && action === "allow" && !params.has("target"))
      throw bad("@default needs target=");
    return [{ service, argument, source: alias(source), target: alias(target), action, params }];
  });
}

function isToken(token: string, isTarget: boolean): boolean {
  if (!token.startsWith("@")) return token !== "";
  if (["@anyvm", "@adminvm"].includes(token)) return true;
  return (isTarget && ["@default", "@dispvm"].includes(token)) || /^@dispvm:[^@]+$/.test(token);
}

function alias(token: string): string {
  return token === "dom0" ? "@adminvm" : token;
}

function matches(rule: Rule, call: Call): boolean {
  const vm = (pattern: string, name: string): boolean =>
    pattern === "*" || (pattern === "@anyvm" ? name !== "@adminvm" : pattern === name);
  return (
    (rule.service === "*" || rule.service === call.service) &&
    (rule.argument === "*" || rule.argument === call.argument) &&
    vm(rule.source, call.source) &&
    vm(rule.target, call.target)
  );
}
