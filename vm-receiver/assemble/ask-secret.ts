// A passphrase typed at the terminal, without echo.

import { typedSecret } from "../../protocol/typed-secret.ts";
import { AssembleError } from "./errors.ts";

/** What was typed up to the end of the line. Only where standard input is a terminal. Throws AssembleError where it was
 *  given up, or where it can't be taken as it was typed. ^C is a SIGINT as anywhere else. */
export async function askSecret(prompt: string, signal: AbortSignal): Promise<string> {
  const not = {
    givenUp: () => new AssembleError("stopped", "no passphrase was given"),
    refused: (why: string) => new AssembleError("wrong-key", `${prompt}: ${why}`, "try again"),
    interrupted: () => process.kill(process.pid, "SIGINT"),
  };
  return typedSecret(process, prompt, not, signal);
}
