// Questions to the person at the terminal. Without a terminal there is nobody to ask.

import { createInterface } from "node:readline/promises";
import { AgentError } from "../errors.ts";

/** True for yes. Throws AgentError `usage` where nobody can answer. */
export async function confirm(question: string, signal: AbortSignal): Promise<boolean> {
  return /^(y|yes)$/i.test(await ask(question, "[y/N]", signal));
}

/** What the person types, without blanks at its ends. Throws AgentError `usage` where nobody can answer. */
export async function ask(question: string, wanted: string, signal: AbortSignal): Promise<string> {
  if (!process.stdin.isTTY)
    throw new AgentError("usage", `${question}: nobody to ask: standard input is no terminal`);
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return (await lines.question(`${question} ${wanted} `, { signal })).trim();
  } finally {
    lines.close();
  }
}
