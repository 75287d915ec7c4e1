// sparsebak key

import { isVolumeName } from "../../../protocol/archive/names.ts";
import { AgentError, type ExitReason } from "../../errors.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import type { CommandLine } from "../command-line.ts";
import type { Output } from "../output.ts";
import { bytesText } from "../../units.ts";
import { passphraseFileOption } from "./init.ts";

export function addKey({ parser, perform }: CommandLine): void {
  const flag = (describe: string) => ({ type: "boolean", default: false, describe }) as const;
  parser.command(
    "key",
    "the archive's passphrases, its recovery form, read keys of volumes",
    (command) =>
      command
        .option("list", flag("the passphrases that open it, by number"))
        .option("add", flag("add a passphrase"))
        .option("change-passphrase", flag("replace a passphrase"))
        .option("remove", { type: "string", requiresArg: true, describe: "take a passphrase away" })
        .option("show-recovery", flag("print the recovery form of the key"))
        .option("export", {
          type: "string",
          requiresArg: true,
          describe: "print the key that reads one volume, for spbk-assemble",
        })
        .option("slot", { type: "string", requiresArg: true, describe: "which passphrase to change" })
        .option("passphrase-file", passphraseFileOption),
    async (options) => perform(options, async (context, output) => runKey(context, output, options)),
  );
}

interface KeyOptions {
  readonly dest: string | undefined;
  readonly list: boolean;
  readonly add: boolean;
  readonly changePassphrase: boolean;
  readonly remove: string | undefined;
  readonly showRecovery: boolean;
  readonly export: string | undefined;
  readonly slot: string | undefined;
  readonly passphraseFile: string | undefined;
}

async function runKey(context: Context, output: Output, options: KeyOptions): Promise<ExitReason> {
  const archive = chooseArchive(context.settings, options.dest);
  const wanted = [
    options.list,
    options.add,
    options.changePassphrase,
    options.remove !== undefined,
    options.showRecovery,
    options.export !== undefined,
  ].filter(Boolean).length;
  if (wanted !== 1)
    throw new AgentError(
      "usage",
      `key: found ${wanted} things to do, wanted one`,
      "see sparsebak key --help",
    );
  if (options.slot !== undefined && !options.changePassphrase)
    throw new AgentError("usage", "key: --slot goes with --change-passphrase");
  if (options.passphraseFile !== undefined && !options.add && !options.changePassphrase)
    throw new AgentError("usage", "key: --passphrase-file goes with --add and --change-passphrase");
  const slot = slotNumber(options.remove ?? options.slot);
  const key = await import("../../session/key.ts");
  const { passphraseFrom } = await import("../../keys/passphrase.ts");
  const passphrase = async (): Promise<string> => {
    const { passphraseFile } = options;
    if (passphraseFile !== undefined)
      return passphraseFrom(passphraseFile, (message) => context.report.warn(message));
    if (!context.unattended) return context.askPassphrase("new");
    throw new AgentError("usage", "key: it needs the new passphrase", "give --passphrase-file");
  };
  if (options.list) {
    const slots = await key.listSlots(context, archive);
    for (const each of slots)
      output.line(`${each.slot}: passphrase, ${bytesText(each.memory)} of memory for each guess`, {
        type: "slot",
        ...each,
      });
    if (slots.length === 0)
      output.line("no passphrase: only with the recovery form another machine can take it over", {
        type: "slots",
        count: 0,
      });
    return "done";
  }
  if (options.showRecovery) {
    context.showSecret(key.showRecovery(context, archive));
    return "done";
  }
  if (options.export !== undefined) {
    if (!isVolumeName(options.export))
      throw new AgentError("usage", `key --export: «${options.export}» can't be the name of a volume`);
    const text = await key.exportReadKey(context, archive, options.export);
    context.report.notice(
      "whoever has this key can read every session of the volume, those to come too, for good; it can't be taken back",
    );
    context.showSecret([text]);
    return "done";
  }
  const change = options.add
    ? ({ kind: "add", passphrase } as const)
    : options.changePassphrase
      ? ({ kind: "change", slot, passphrase } as const)
      : ({ kind: "remove", slot: slot ?? 0 } as const);
  const left = await key.changeSlots(context, archive, change);
  output.line(`${archive.name}: ${left} ${left === 1 ? "passphrase" : "passphrases"}`, {
    type: "key",
    archive: archive.name,
    passphrases: left,
  });
  if (change.kind !== "add")
    context.report.notice(
      "the key itself is the same: whoever has the old passphrase and an older copy of the archive's header, of which the destination may have kept one, and with trash-days does for so long, can still open the archive",
    );
  return "done";
}

/** Which passphrase is meant, as people count. Throws AgentError `usage`. */
function slotNumber(text: string | undefined): number | undefined {
  if (text === undefined || /^[1-9]\d?$/.test(text)) return text === undefined ? undefined : Number(text);
  throw new AgentError("usage", `key: found «${text}», wanted the number of a passphrase`, "see key --list");
}
