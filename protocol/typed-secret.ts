// A secret typed at a terminal, without echo. Both sides read it with this, so that the same keys are the same passphrase.

const [interrupt, endOfInput, backspace, eraseLine] = ["\u0003", "\u0004", "\u0008", "\u0015"];
const deleted = "\u007f";
const maxCharacters = 1024;
/** What was typed behind the line end of the last answer: it is the next one's. */
let ahead = "";

/** What becomes of a line that is none. */
export interface NotTyped {
  /** ^D, the end of the input, or the signal; gives what to throw. */
  givenUp(): unknown;
  /** It can't be taken as it was typed, which is told at its end; gives what to throw. */
  refused(why: string): unknown;
  /** ^C. The terminal is in raw mode and makes no signal of it; what becomes of the command is the caller's. */
  interrupted(): void;
}

/** What was typed up to the end of the line. `stdin` is a terminal. Throws what `not` gives. */
export async function typedSecret(
  { stdin, stderr }: Pick<NodeJS.Process, "stdin" | "stderr">,
  prompt: string,
  not: NotTyped,
  signal: AbortSignal,
): Promise<string> {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let typed: string[] = [];
  let refusal: string | undefined;
  stdin.setRawMode(true); // before the prompt: what is typed from then on is not shown
  stderr.write(`${prompt}: `);
  stdin.resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      const stop = (): void => reject(not.givenUp());
      signal.addEventListener("abort", stop, { once: true });
      stdin.once("end", stop);
      const take = (text: string): void => {
        const characters = Array.from(text);
        for (const [i, character] of characters.entries()) {
          if (character === "\r" || character === "\n") {
            ahead = characters.slice(i + 1).join("");
            if (refusal === undefined) resolve(typed.join(""));
            else reject(not.refused(refusal));
            return;
          }
          if (character === interrupt) {
            // Nothing behind it is taken.
            stdin.removeAllListeners("data");
            not.interrupted();
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
      stdin.on("data", (bytes: Buffer) => take(decoder.decode(bytes, { stream: true })));
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
