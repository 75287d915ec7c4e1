// A passphrase typed at the terminal, without echo.

import { StringDecoder } from "node:string_decoder";
import { AssembleError } from "./errors.ts";

const [interrupt, endOfInput, backspace, eraseLine, deleted] = [
  "\u0003",
  "\u0004",
  "\u0008",
  "\u0015",
  "\u007f",
];
const maxCharacters = 1024;

/** What was typed up to the end of the line. Only where standard input is a terminal. */
export async function askSecret(prompt: string, signal: AbortSignal): Promise<string> {
  const { stdin, stderr } = process;
  stderr.write(`${prompt}: `);
  const decoder = new StringDecoder("utf8");
  let typed: string[] = [];
  stdin.setRawMode(true);
  stdin.resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      const stop = (): void => reject(new AssembleError("stopped", "no passphrase was given"));
      signal.addEventListener("abort", stop, { once: true });
      stdin.once("end", stop);
      stdin.on("data", (bytes: Buffer) => {
        for (const character of decoder.write(bytes)) {
          if (character === "\r" || character === "\n") resolve(typed.join(""));
          else if (character === interrupt || character === endOfInput) stop();
          else if (character === backspace || character === deleted) typed.pop();
          else if (character === eraseLine) typed = [];
          else if (character >= " " && typed.length < maxCharacters) typed.push(character);
        }
      });
    });
  } finally {
    stdin.removeAllListeners("data").removeAllListeners("end");
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write("\n");
  }
}
