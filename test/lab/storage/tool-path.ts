// Wrappers in the agent's tool path (SPARSEBAK_TOOL_PATH): they count what is run, or let something happen right before
// or after it. A wrapper is a shell script under the tool's name; "$real" in it is the tool.

import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const systemPath = "/usr/sbin:/usr/bin:/sbin:/bin";

export interface ToolPath extends Disposable {
  readonly path: string;
  /** Adds a wrapper; `body` is the script, which has to run "$real" "$@" itself. */
  wrap(tool: string, body: string): void;
  /** Adds wrappers that write down each run. */
  count(...tools: readonly string[]): void;
  /** How often each was run since the last time this was asked. */
  counts(): Readonly<Record<string, number>>;
}

/** From now on, until it is disposed of, the agent's tools are looked up here first. */
export function toolPath(): ToolPath {
  const path = mkdtempSync("/tmp/tools-");
  const log = join(path, "log");
  process.env["SPARSEBAK_TOOL_PATH"] = `${path}:${systemPath}`;
  const wrap = (tool: string, body: string): void => {
    const file = join(path, tool);
    writeFileSync(file, `#!/bin/sh\nPATH=${systemPath}\nreal=$(command -v ${tool})\nhere=${path}\n${body}\n`);
    chmodSync(file, 0o755);
  };
  return {
    path,
    wrap,
    count: (...tools) => {
      for (const tool of tools) wrap(tool, `echo ${tool} >>${log}\nexec "$real" "$@"`);
    },
    counts: () => {
      const lines = existsSync(log) ? readFileSync(log, "utf8").split("\n").filter(Boolean) : [];
      rmSync(log, { force: true });
      const counts: Record<string, number> = {};
      for (const tool of lines) counts[tool] = (counts[tool] ?? 0) + 1;
      return counts;
    },
    [Symbol.dispose]: () => {
      delete process.env["SPARSEBAK_TOOL_PATH"];
      rmSync(path, { recursive: true, force: true });
    },
  };
}
