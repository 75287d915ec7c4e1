// A secret typed at the terminal, without echo. It comes from the terminal and nowhere else: standard input that is
// none is for data, and arguments and environment are seen by others.

import { StringDecoder } from "node:string_decoder";
import { AgentError, UnansweredError } from "../errors.ts";

const [interrupt, endOfInput, backspace, eraseLine] = ["\u0003", "\u0004", "\u0008", "\u0015"];
const deleted = "\u007f";
const maxCharacters = 1024;
/** What was typed behind the line end of the last answer: it is the next one's. */
let ahead = "";

/** What was typed up to the end of the line. Throws AgentError `usage` where there is no terminal, UnansweredError where it was
 *  given up, or where it can't be taken as it was typed; what follows up to the line's end is then read all the same.
 *  Throws the signal's reason; ^C is a SIGINT as anywhere else. */
export async function askSecret(prompt: string, signal: AbortSignal): Promise<string> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY) throw new AgentError("usage", `${prompt}: nobody to ask: standard input is no terminal`);
  const decoder = new StringDecoder("utf8");
  let typed: string[] = [];
  let refusal: string | undefined;
  stdin.setRawMode(true); // before the prompt: what is typed from then on is not shown
  stderr.write(`${prompt}: `);
  stdin.resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      const stop = (): void =>
        reject(signal.aborted ? signal.reason : new UnansweredError(`${prompt}: given up`));
      signal.addEventListener("abort", stop, { once: true });
      stdin.once("end", stop);
      const take = (text: string): void => {
        for (const [i, character] of Array.from(text).entries()) {
          if (character === "\r" || character === "\n") {
            ahead = Array.from(text)
              .slice(i + 1)
              .join("");
            if (refusal === undefined) resolve(typed.join(""));
            else reject(new UnansweredError(`${prompt}: ${refusal}`, "try again"));
            return;
          }
          if (character === interrupt) {
            // The terminal is in raw mode, and makes no signal of it; nothing behind it is taken.
            stdin.removeAllListeners("data");
            process.kill(process.pid, "SIGINT");
            return;
          }
          if (character === endOfInput) stop();
          else if (character === backspace || character === deleted) typed.pop();
          else if (character === eraseLine) [typed, refusal] = [[], undefined];
          else if (character < " " || character === "\ufffd")
            refusal = "found a key that is no character, as an arrow or a tab, or bytes that are no UTF-8";
          else if (typed.length === maxCharacters) refusal = `found more than ${maxCharacters} characters`;
          else typed.push(character);
        }
      };
      stdin.on("data", (bytes: Buffer) => take(decoder.write(bytes)));
      const before = ahead;
      ahead = "";
      take(before);
    });
  } finally {
    stdin.removeAllListeners("data").removeAllListeners("end");
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write("\n");
  }
}

/** A new secret, asked for twice. */
export async function askNewSecret(what: string, signal: AbortSignal): Promise<string> {
  const first = await askSecret(`New ${what}`, signal);
  if ((await askSecret(`The same ${what} again`, signal)) === first) return first;
  throw new UnansweredError(`${what}: the two are not the same`, "nothing was changed: try again");
}
