// sparsebak: the command line (design section 3).

import { constants } from "node:os";
import yargs from "yargs";
import { programVersion } from "../../protocol/version.ts";
import { AgentError, exitStatuses } from "../errors.ts";
import { reasonOf } from "../reason.ts";
import type { CommandLine, GlobalOptions, Run } from "./command-line.ts";
import { addAdd } from "./commands/add.ts";
import { addAssemble } from "./commands/assemble.ts";
import { addCheck } from "./commands/check.ts";
import { addDelete } from "./commands/delete.ts";
import { addDiff } from "./commands/diff.ts";
import { addInit } from "./commands/init.ts";
import { addKey } from "./commands/key.ts";
import { addList } from "./commands/list.ts";
import { addMonitor } from "./commands/monitor.ts";
import { addPrune } from "./commands/prune.ts";
import { addReceive } from "./commands/receive.ts";
import { addRename } from "./commands/rename.ts";
import { addSend } from "./commands/send.ts";
import { addStatus } from "./commands/status.ts";
import { addTag } from "./commands/tag.ts";
import { addVerify } from "./commands/verify.ts";
import { createOutput, guardStreams } from "./output.ts";

const stop = new AbortController();
let stopSignal: NodeJS.Signals | undefined;
let status = 0;

// What can't be printed changes no backup, but whoever reads the output has to know.
guardStreams(() => (process.exitCode = status ||= exitStatuses.failed));

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => {
    // The second one is for whoever can't wait for the tidying up.
    if (stopSignal !== undefined) process.exit(128 + constants.signals[name]);
    stopSignal = name;
    stop.abort(new AgentError("failed", `stopped by ${name}`));
  });
}

/** Runs a command and settles the exit status. */
async function perform(options: GlobalOptions, run: Run): Promise<void> {
  const output = createOutput(options);
  try {
    // Loaded here, so that --help and --version don't wait for it.
    if (options.verbose) (await import("../tools.ts")).traceTools((text) => output.trace(text));
    const { openContext } = await import("./run-context.ts");
    const context = await openContext(options, output, stop.signal);
    status = exitStatuses[await run(context, output)] || status;
  } catch (error) {
    output.clear();
    output.error(error);
    status = exitStatuses[reasonOf(error)];
  } finally {
    output.clear();
  }
  if (stopSignal !== undefined) status = 128 + constants.signals[stopSignal];
}

/** Every command, in the order of --help. */
const commands: readonly ((line: CommandLine) => void)[] = [
  addMonitor,
  addSend,
  addReceive,
  addVerify,
  addCheck,
  addDiff,
  addList,
  addStatus,
  addAssemble,
  addPrune,
  addTag,
  addAdd,
  addRename,
  addDelete,
  addInit,
  addKey,
];

async function parse(): Promise<void> {
  const parser = yargs(process.argv.slice(2))
    .scriptName("sparsebak")
    .usage("$0 [options] COMMAND [volume…]")
    .check((options) => {
      // What prune has several of is an array by itself.
      const repeats = options._[0] === "prune" ? ["session"] : [];
      for (const name of [
        "config",
        "dest",
        "session",
        "saveTo",
        "before",
        "remove",
        "slot",
        "export",
        "passphrase-file",
      ]) {
        if (repeats.includes(name)) continue;
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
      describe: "destination, by its name in the settings; send takes all of them with «all»",
    })
    .option("accept-rollback", {
      type: "boolean",
      default: false,
      describe: "go on from an older or forked state of the archive",
    })
    .option("json", { type: "boolean", default: false, describe: "one JSON object a line on stdout" })
    .option("verbose", {
      alias: "v",
      type: "boolean",
      default: false,
      describe: "also the outside programs that are run, on stderr",
    })
    .option("quiet", { alias: "q", type: "boolean", default: false, describe: "only warnings and errors" })
    .option("progress", { type: "boolean", default: true, describe: "progress bar on a terminal" })
    .demandCommand(1, 1, "which command?")
    .strict()
    .version(programVersion)
    .help("help")
    .alias("help", "h")
    .exitProcess(false)
    .fail((message, error: Error | undefined) => {
      // yargs has errors of its own, also about the command line.
      if (error instanceof AgentError) throw error;
      throw new AgentError("usage", message || (error?.message ?? "not understood"), "see sparsebak --help");
    });
  for (const add of commands) add({ parser, perform });
  await parser.parseAsync();
}

try {
  await parse();
} catch (error) {
  createOutput({ json: false, quiet: false, progress: false }).error(error);
  status = exitStatuses[reasonOf(error)];
}
process.exitCode ||= status;
