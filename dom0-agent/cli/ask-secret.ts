// A secret typed at the terminal, without echo. It comes from the terminal and nowhere else: standard input that is
// none is for data, and arguments and environment are seen by others.

import { typedSecret } from "../../protocol/typed-secret.ts";
import { AgentError, UnansweredError } from "../errors.ts";

/** What was typed up to the end of the line. Throws AgentError `usage` where there is no terminal, UnansweredError where it was
 *  given up, or where it can't be taken as it was typed. Throws the signal's reason; ^C is a SIGINT as anywhere else. */
export async function askSecret(prompt: string, signal: AbortSignal): Promise<string> {
  if (!process.stdin.isTTY)
    throw new AgentError("usage", `${prompt}: nobody to ask: standard input is no terminal`);
  const not = {
    givenUp: () => (signal.aborted ? signal.reason : new UnansweredError(`${prompt}: given up`)),
    refused: (why: string) => new UnansweredError(`${prompt}: ${why}`, "try again"),
    interrupted: () => process.kill(process.pid, "SIGINT"),
  };
  return typedSecret(process, prompt, not, signal);
}

/** A new secret, asked for twice. */
export async function askNewSecret(what: string, signal: AbortSignal): Promise<string> {
  const first = await askSecret(`New ${what}`, signal);
  if ((await askSecret(`The same ${what} again`, signal)) === first) return first;
  throw new UnansweredError(`${what}: the two are not the same`, "nothing was changed: try again");
}
