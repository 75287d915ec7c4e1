// How a qrexec agent finds a service in its VM, and what rpc-config says about it (facts: "What a service meets").

import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const serviceDirectories = ["run/qubes-rpc", "usr/local/etc/qubes-rpc", "etc/qubes-rpc"];
const configDirectories = ["run/qubes/rpc-config", "usr/local/etc/qubes/rpc-config", "etc/qubes/rpc-config"];
const maxConfigBytes = 4096;

/** `NAME+ARG` before `NAME`, each in the documented order of directories. */
function find(root: string, directories: readonly string[], name: string): string | undefined {
  const names = name.includes("+") ? [name, name.slice(0, name.indexOf("+"))] : [name];
  const paths = names.flatMap((each) => directories.map((directory) => join(root, directory, each)));
  return paths.find((path) => existsSync(path));
}

export type Found =
  | { readonly path: string; readonly user: string; readonly waitForSession: boolean }
  | { readonly exitCode: 125 | 127; readonly why: string };

/** The executable of `name` (with its argument) below `root`, and the user that the call ends up with. */
export function lookUpService(root: string, name: string, callUser: string): Found {
  if (Buffer.byteLength(name) > 255) return { exitCode: 125, why: "service name too long" };
  const path = find(root, serviceDirectories, name);
  if (path === undefined) return { exitCode: 127, why: `service not found: ${name}` };
  const { mode } = statSync(path);
  if ((mode & 0o111) === 0) return { exitCode: 125, why: `not executable: ${path}` };
  const config = parseConfig(find(root, configDirectories, name));
  if (config === undefined) return { exitCode: 125, why: `cannot parse the rpc-config of ${name}` };
  const user = config.get("force-user") ?? (callUser === "DEFAULT" ? "user" : callUser);
  return { path, user, waitForSession: config.get("wait-for-session") === "true" };
}

/** The keys of an rpc-config file; undefined for one that a real agent would not accept. */
function parseConfig(path: string | undefined): ReadonlyMap<string, string> | undefined {
  const config = new Map<string, string>();
  if (path === undefined) return config;
  const text = readFileSync(path, "utf8");
  if (Buffer.byteLength(text) > maxConfigBytes) return undefined;
  for (const line of text.split("\n").map((each) => each.trim())) {
    if (line === "" || line.startsWith("#")) continue;
    const match =
      /^(?:(force-user)='([^']+)'|(wait-for-session|skip-service-descriptor|exit-on-service-eof|exit-on-client-eof)=(true|false|0|1))$/.exec(
        line,
      );
    if (match === null) return undefined;
    config.set(match[1] ?? match[3] ?? "", match[2] ?? match[4] ?? "");
  }
  return config;
}
