// Many LVM commands in one process: lvm reads them from its standard input, and goes on after one that failed. Which
// of them succeeded is seen afterwards, with lvs; what it printed is for the message.

import { runTool } from "../../tools.ts";
import { StorageError } from "../storage.ts";

const word = /^[A-Za-z0-9_+.@/=:-]+$/;

/** Runs commands, each a list of plain words. Gives what LVM printed to stderr. */
export async function runLvmCommands(commands: readonly (readonly string[])[]): Promise<string> {
  if (commands.length === 0) return "";
  const bad = commands.flat().find((each) => !word.test(each));
  if (bad !== undefined)
    throw new StorageError("unusable", `run lvm: found the word «${bad}», wanted letters, digits and _+.-`);
  const input = commands.map((each) => `${each.join(" ")}\n`).join("");
  // Not to be interrupted half-way: each command is short, and LVM's own are atomic.
  const result = await runTool("lvm", [], { input });
  if (result.failure !== undefined) throw new StorageError("tool", `run lvm: ${result.failure}`);
  return result.stderr
    .split("\n")
    .filter((line) => line.trim() !== "" && !/^\s*WARNING:/.test(line))
    .join("\n");
}

/** The lines of LVM's output that speak of `name`, on one line. */
export function linesAbout(output: string, name: string): string {
  const lines = output.split("\n").map((line) => line.trim());
  const about = lines.filter((line) => line.includes(name));
  return (about.length > 0 ? about : lines).join("; ").slice(0, 500);
}
