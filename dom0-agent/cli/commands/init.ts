// sparsebak init

import { AgentError, type ExitReason } from "../../errors.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import type { CommandLine } from "../command-line.ts";
import type { Output } from "../output.ts";

export function addInit({ parser, perform }: CommandLine): void {
  parser.command(
    "init",
    "make an archive and its key, or take over one that is there",
    (command) =>
      command
        .option("passphrase-file", passphraseFileOption)
        .option("passphrase", {
          type: "boolean",
          default: true,
          describe:
            "ask for one; with --no-passphrase the key file and the recovery form are all that opens it",
        })
        .option("join", {
          type: "boolean",
          default: false,
          describe: "take over the archive that is there, with its passphrase or recovery form",
        }),
    async (options) =>
      perform(options, async (context, output) =>
        runInit(context, output, { ...options, noPassphrase: !options.passphrase }),
      ),
  );
}

/** `--passphrase-file`, which several commands have. */
export const passphraseFileOption = {
  type: "string",
  requiresArg: true,
  describe: "file that holds the passphrase; /dev/fd/N for a descriptor",
} as const;

async function runInit(
  context: Context,
  output: Output,
  options: {
    readonly dest: string | undefined;
    readonly passphraseFile: string | undefined;
    readonly noPassphrase: boolean;
    readonly join: boolean;
  },
): Promise<ExitReason> {
  if (options.noPassphrase && (options.passphraseFile !== undefined || options.join))
    throw new AgentError("usage", "init: --no-passphrase goes with neither --passphrase-file nor --join");
  const archive = chooseArchive(context.settings, options.dest);
  const { initArchive, joinArchive } = await import("../../session/init.ts");
  const { passphraseFrom } = await import("../../keys/passphrase.ts");
  const given =
    options.passphraseFile === undefined
      ? undefined
      : passphraseFrom(options.passphraseFile, (message) => context.report.warn(message));
  if (options.join) {
    const { volumes, generation } = await joinArchive(context, archive, given);
    output.line(
      `${archive.name}: taken over, ${volumes} volumes, state ${generation}. Only a receipt can say whether this is its newest state (sparsebak check --receipt)`,
      { type: "init", archive: archive.name, joined: true, volumes, generation },
    );
    return "done";
  }
  const first =
    given !== undefined
      ? ({ kind: "given", passphrase: given } as const)
      : ({ kind: options.noPassphrase ? "none" : "ask" } as const);
  const outcome = await initArchive(context, archive, first);
  const what = outcome === "made" ? "made" : "was there, made by an earlier run of this dom0; gone on with";
  output.line(`${archive.name}: ${what}`, {
    type: "init",
    archive: archive.name,
    joined: false,
    made: outcome === "made",
  });
  return "done";
}
