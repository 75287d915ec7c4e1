// A built program at a terminal, and a person who answers its prompts: script(1) makes the terminal.

import { spawn } from "node:child_process";
import { stripVTControlCharacters } from "node:util";
import { node, type Site } from "./site.ts";

export interface Shown {
  readonly code: number | null;
  /** All that was to be seen on the terminal, what was echoed included. */
  readonly output: string;
}

/**
 * Runs `program` of the site (`sparsebak` with its settings), and types each answer, with Enter, when the terminal shows
 * its prompt. The shell gets the arguments as they are: they may redirect.
 */
export async function atTerminal(
  site: Site,
  program: "sparsebak" | "spbk-assemble",
  args: readonly string[],
  answers: readonly (readonly [prompt: string, answer: string])[],
): Promise<Shown> {
  const settings = program === "sparsebak" ? ["-c", site.ini] : [];
  const command = [node, site.program(`${program}.mjs`), ...settings, ...args].join(" ");
  const child = spawn("script", ["-qec", command, "/dev/null"], {
    env: { PATH: process.env["PATH"], HOME: site.directory, SPARSEBAK_TOOL_PATH: site.lab.dom0Path },
    stdio: ["pipe", "pipe", "inherit"],
    cwd: site.directory,
    timeout: 120_000,
  });
  const waiting = [...answers];
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    const [prompt, answer] = waiting[0] ?? [];
    if (prompt === undefined || !stripVTControlCharacters(output).endsWith(prompt)) return;
    waiting.shift();
    child.stdin.write(`${answer}\r`);
  });
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, output })));
}
