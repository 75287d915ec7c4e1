// Questions to the person at the terminal. Without a terminal there is nobody to ask.

import { createInterface } from "node:readline";
import { AgentError, UnansweredError } from "../errors.ts";

/** True for yes. Throws as `ask` does. */
export async function confirm(question: string, signal: AbortSignal): Promise<boolean> {
  return /^(y|yes)$/i.test(await ask(question, " [y/N] ", signal));
}

/** What the person types behind `question` and `prompt`, without blanks at its ends. Throws AgentError `usage` where nobody
 *  can answer, UnansweredError where it was given up (^D), and the signal's reason; ^C is a SIGINT as anywhere else. */
export async function ask(question: string, prompt: string, signal: AbortSignal): Promise<string> {
  const { stdin: input, stderr: output } = process;
  if (!input.isTTY)
    throw new AgentError("usage", `${question}: nobody to ask: standard input is no terminal`);
  const lines = createInterface({ input, output, prompt: question + prompt, signal });
  try {
    return await new Promise<string>((resolve, reject) => {
      lines.once("line", (line) => resolve(line.trim()));
      lines.once("close", () => {
        output.write("\n");
        reject(signal.aborted ? signal.reason : new UnansweredError(`${question}: given up`));
      });
      // The terminal is in raw mode, and makes no signal of it; nothing behind it is taken.
      lines.on("SIGINT", () => {
        lines.removeAllListeners("line");
        process.kill(process.pid, "SIGINT");
      });
      lines.prompt();
    });
  } finally {
    lines.removeAllListeners("close").close();
  }
}
