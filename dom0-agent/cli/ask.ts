// Questions to the person at the terminal. Without a terminal there is nobody to ask.

import { createInterface } from "node:readline/promises";
import { AgentError } from "../errors.ts";

/** True for yes. Throws AgentError `usage` where nobody can answer. */
export async function confirm(question: string, signal: AbortSignal): Promise<boolean> {
  if (!process.stdin.isTTY)
    throw new AgentError("usage", `${question}: nobody to ask: standard input is no terminal`);
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await lines.question(`${question} [y/N] `, { signal });
    return /^(y|yes)$/i.test(answer.trim());
  } finally {
    lines.close();
  }
}
