// sparsebak: the command line (design section 3).

import { constants } from "node:os";
import yargs, { type Argv } from "yargs";
import { programVersion } from "../../protocol/version.ts";
import { AgentError, type ExitReason, exitStatuses } from "../errors.ts";
import { StorageError } from "../storage/storage.ts";
import { TransportError } from "../transport/transport.ts";
import type { Context } from "../session/context.ts";
import { runAssemble, runList, runMonitor, runSend, runStatus } from "./commands.ts";
import { createOutput, type Output } from "./output.ts";
import { openContext } from "./run-context.ts";

interface Options {
  readonly config: string | undefined;
  readonly unattended: boolean;
  readonly all: boolean;
  readonly dest: string | undefined;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly progress: boolean;
}

type Run = (context: Context, output: Output) => Promise<ExitReason>;

const stop = new AbortController();
let stopSignal: NodeJS.Signals | undefined;
let status = 0;

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => {
    // The second one is for whoever can't wait for the tidying up.
    if (stopSignal !== undefined) process.exit(128 + constants.signals[name]);
    stopSignal = name;
    stop.abort(new AgentError("failed", `stopped by ${name}`));
  });
}

/** Runs a command and settles the exit status. */
async function perform(options: Options, run: Run): Promise<void> {
  const output = createOutput(options);
  try {
    const context = await openContext(options, output, stop.signal);
    status = exitStatuses[await run(context, output)];
  } catch (error) {
    output.clear();
    output.error(error);
    status = exitStatuses[reasonOf(error)];
  } finally {
    output.clear();
  }
  if (stopSignal !== undefined) status = 128 + constants.signals[stopSignal];
}

function reasonOf(error: unknown): ExitReason {
  if (error instanceof AgentError) return error.reason;
  if (error instanceof TransportError) return "destination";
  if (error instanceof StorageError) return "failed";
  return "failed";
}

const committed = {
  type: "boolean",
  default: false,
  describe: "what each VM's last start left, not what it writes now",
} as const;
const noNames: readonly string[] = [];

function volumesOf<T>(command: Argv<T>): Argv<T & { volumes: readonly string[] }> {
  const describe = "volumes; without, those that the settings enable";
  return command.positional("volumes", { type: "string", array: true, default: noNames, describe });
}

async function parse(): Promise<void> {
  const parser = yargs(process.argv.slice(2))
    .scriptName("sparsebak")
    .usage("$0 [options] COMMAND [volume…]")
    .check((options) => {
      for (const name of ["config", "dest", "session", "saveTo"]) {
        if (Array.isArray(options[name])) throw new AgentError("usage", `--${name}: given more than once`);
      }
      return true;
    })
    .option("config", { alias: "c", type: "string", requiresArg: true, describe: "settings file" })
    .option("unattended", {
      alias: "u",
      type: "boolean",
      default: false,
      describe: "never ask; what would need an answer is an error",
    })
    .option("all", {
      alias: "a",
      type: "boolean",
      default: false,
      describe: "every volume that could be backed up",
    })
    .option("dest", {
      type: "string",
      requiresArg: true,
      describe: "destination, by its name in the settings",
    })
    .option("json", { type: "boolean", default: false, describe: "one JSON object a line on stdout" })
    .option("quiet", { alias: "q", type: "boolean", default: false, describe: "only warnings and errors" })
    .option("progress", { type: "boolean", default: true, describe: "progress bar on a terminal" })
    .command(
      "monitor [volumes..]",
      "fold what changed into the delta maps and move the snapshots on",
      (command) => volumesOf(command).option("committed", committed),
      async (options) => perform(options, async (context, output) => runMonitor(context, output, options)),
    )
    .command(
      "send [volumes..]",
      "monitor, then back up: new volumes whole, known ones by what changed",
      (command) =>
        volumesOf(command)
          .option("tarfile", {
            type: "boolean",
            default: false,
            describe: "one tar file instead of a directory of chunks",
          })
          .option("tag", {
            type: "string",
            array: true,
            default: noNames,
            requiresArg: true,
            describe: "tag the sessions",
          })
          .option("committed", committed),
      async (options) =>
        perform(options, async (context) => runSend(context, { ...options, tags: options.tag })),
    )
    .command(
      "list [volumes..]",
      "what the archive holds",
      (command) => volumesOf(command),
      async (options) => perform(options, async (context, output) => runList(context, output, options)),
    )
    .command(
      "status",
      "what is tracked, how old each backup is, what a send would cost",
      (command) => command,
      async (options) => perform(options, runStatus),
    )
    .command(
      "assemble <volumes..>",
      "have the backup VM build a volume's image there",
      (command) =>
        volumesOf(command)
          .option("session", {
            type: "string",
            requiresArg: true,
            describe: "S_… or a tag; without, the last",
          })
          .option("save-to", {
            type: "string",
            default: "",
            requiresArg: true,
            describe: "path below the destination's mountpoint",
          })
          .option("force", { type: "boolean", default: false, describe: "replace an image that is there" }),
      async (options) => perform(options, async (context, output) => runAssemble(context, output, options)),
    )
    .demandCommand(1, 1, "which command? see --help")
    .strict()
    .version(programVersion)
    .help()
    .exitProcess(false)
    .fail((message, error: Error | undefined) => {
      throw error ?? new AgentError("usage", message, "see sparsebak --help");
    });
  await parser.parseAsync();
}

try {
  await parse();
} catch (error) {
  createOutput({ json: false, quiet: false, progress: false }).error(error);
  status = exitStatuses[reasonOf(error)];
}
process.exitCode = status;
