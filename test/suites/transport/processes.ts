// The processes that a transport consists of, and waiting for what they do.

import { readdirSync, readFileSync } from "node:fs";
import type { TransportHarness } from "./harness.ts";

/** Waits for something that has to come; the test's own time limit says when it has not. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Command lines of the processes that hold `text`. */
export function running(text: string): string[] {
  return processes("cmdline")
    .map((line) => line.replaceAll("\0", " "))
    .filter((line) => line.includes(text));
}

/** Children of ours that have ended and that nobody has waited for. */
function zombies(): string[] {
  return processes("stat").filter((line) => line.includes(`) Z ${process.pid} `));
}

function processes(file: string): string[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/${file}`, "utf8");
      } catch {
        return ""; // it has ended
      }
    });
}

export async function untilGone(harness: TransportHarness): Promise<void> {
  await until(() => running(harness.mark).length === 0 && zombies().length === 0);
}
