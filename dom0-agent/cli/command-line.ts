// What the files in commands/ are given: each adds one command to the parser, and has it performed.

import type { Argv } from "yargs";
import type { ExitReason } from "../errors.ts";
import type { Context } from "../context.ts";
import type { Output } from "./output.ts";

/** Options that every command has. */
export interface GlobalOptions {
  readonly config: string | undefined;
  readonly unattended: boolean;
  readonly all: boolean;
  readonly dest: string | undefined;
  readonly "accept-rollback": boolean;
  readonly json: boolean;
  readonly verbose: boolean;
  readonly quiet: boolean;
  readonly progress: boolean;
}

/** What a command does once settings, state and storage are open. Gives what the run came to. */
export type Run = (context: Context, output: Output) => Promise<ExitReason>;

export interface CommandLine {
  readonly parser: Argv<GlobalOptions>;
  /** Opens the context, runs `run`, prints its error, and settles the exit status. */
  readonly perform: (options: GlobalOptions, run: Run) => Promise<void>;
}

export const noNames: readonly string[] = [];

/** The `[volumes..]` of most commands. */
export function volumesOf<T>(
  command: Argv<T>,
  describe: string = "volumes; without, those that the settings enable",
): Argv<T & { volumes: readonly string[] }> {
  return command.positional("volumes", { type: "string", array: true, default: noNames, describe });
}

/** `--committed` of the commands that make snapshots. */
export const committedOption = {
  type: "boolean",
  default: false,
  describe: "what each VM's last start left, not what it writes now",
} as const;
