// LVM commands: many in one process, for speed, or one alone, for its own words. lvm reads them from its standard
// input and goes on after one that failed; which of them succeeded is seen afterwards, with lvs.

import { InternalError } from "../../../protocol/errors.ts";
import { runTool } from "../../tools.ts";
import { StorageError } from "../storage.ts";

/** A command and its arguments: plain words, nothing that lvm's own reader of lines would take apart. */
export type LvmCommand = readonly string[];

const word = /^[A-Za-z0-9_+.@/=:-]+$/;
/** Commands of one process: between two processes a run can be interrupted. */
const batchSize = 32;

/** Runs commands in as few processes as possible, whatever became of each. Throws StorageError `tool` when lvm itself
 *  can't be run, and the signal's reason between two processes. */
export async function runTogether(commands: readonly LvmCommand[], signal: AbortSignal): Promise<void> {
  for (let i = 0; i < commands.length; i += batchSize) {
    signal.throwIfAborted();
    const batch = commands.slice(i, i + batchSize);
    const input = batch.map((each) => `${checked(each).join(" ")}\n`).join("");
    // Not to be interrupted half-way: each command is short, and atomic by itself.
    const result = await runTool("lvm", [], { input });
    if (result.failure !== undefined)
      throw new StorageError("tool", `run lvm: ${result.failure}`, rootHint());
  }
}

/** Runs one command. Gives undefined when it succeeded, else what LVM said, on one line. */
export async function runAlone(command: LvmCommand): Promise<string | undefined> {
  const result = await runTool("lvm", checked(command));
  if (result.exitCode === 0) return undefined;
  const lines = (result.failure ?? result.stderr).split("\n").map((line) => line.trim());
  const said = lines.filter((line) => line !== "" && !line.startsWith("WARNING:")).join("; ");
  return said.slice(0, 500) || `exit status ${result.exitCode ?? "none"}`;
}

function checked(command: LvmCommand): LvmCommand {
  const bad = command.find((each) => !word.test(each));
  if (bad !== undefined) throw new InternalError(`run lvm: found the word «${bad}», wanted a name`);
  return command;
}

function rootHint(): string | undefined {
  return process.geteuid?.() === 0 ? undefined : "LVM needs root";
}
