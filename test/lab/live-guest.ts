// A guest that a test on this side leads step by step: it runs one piece of shell text after another. What decides and
// compares runs here, at the machine's own speed; in the guest runs what needs its device mapper.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "../support/temp-dir.ts";
import { type GuestSettings, spawnGuest, tellOf } from "./lab.ts";

export interface LiveGuest extends AsyncDisposable {
  /** A directory that the guest sees at the same path, and $S in its shell texts. */
  readonly share: string;
  /** Runs shell text in a shell of its own, until its first command that fails. Throws when the guest is gone. */
  run(script: string): Promise<GuestRan>;
}

export interface GuestRan {
  /** 128 + n where a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A subshell for each text costs the guest a fork; a program that it starts costs a tenth of a second. */
const loop = `cd "$S"
while read -r n; do (set -e; . "./$n.sh") >"$n.out" 2>"$n.err" </dev/null; echo "ended $n $?"; done`;

export async function startGuest(options: GuestSettings): Promise<LiveGuest> {
  const directory = tempDir();
  const share = join(directory.path, "guest");
  mkdirSync(share);
  const { child, ended } = spawnGuest(
    { ...options, stdin: "", shares: [share], env: { ...options.env, S: share } },
    [loop],
  );
  let tell = (_line: string): void => {};
  let rest = "";
  child.stdout?.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) tell(line);
  });
  child.stdin?.on("error", () => {}); // of a guest that has died: `ended` says so
  let count = 0;
  return {
    share,
    run: async (script) => {
      const n = ++count;
      writeFileSync(join(share, `${n}.sh`), `${script}\n`);
      const heard = new Promise<number>((resolve) => {
        tell = (line) => {
          const [, code] = /^ended \d+ (\d+)$/.exec(line) ?? [];
          if (code !== undefined) resolve(Number(code));
        };
      });
      child.stdin?.write(`${n}\n`);
      const code = await Promise.race([heard, ended]);
      if (typeof code !== "number") throw new Error(`the guest is gone: ${tellOf(code)}`);
      const read = (what: string): string => readFileSync(join(share, `${n}.${what}`), "utf8");
      return { code, stdout: read("out"), stderr: read("err") };
    },
    [Symbol.asyncDispose]: async () => {
      child.stdin?.end();
      await ended;
      directory[Symbol.dispose]();
    },
  };
}
