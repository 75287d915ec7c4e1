// The arguments of spbk-assemble, and which of them go together.

import { isatty } from "node:tty";
import yargs from "yargs";
import type { Generation } from "../../protocol/archive/types.ts";
import { programVersion } from "../../protocol/version.ts";
import { AssembleError } from "./errors.ts";

export const name = "spbk-assemble";

/** What was asked for; the options as docs/man/spbk-assemble.1 has them. */
export interface Arguments {
  readonly path: string;
  readonly session: string | undefined;
  readonly output: string | undefined;
  readonly force: boolean;
  readonly list: boolean;
  readonly verify: boolean;
  readonly key: string | undefined;
  readonly keyFd: number | undefined;
  readonly passphraseFile: string | undefined;
  readonly head: Generation | undefined;
  readonly scrub: boolean;
  readonly untrash: boolean;
  readonly allowOlderHead: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly progress: boolean;
  readonly reportProgress: boolean;
}

function usageError(message: string): AssembleError {
  return new AssembleError("usage", message, `${name} --help says how it is used`);
}

/** The arguments, or undefined where help or the version was asked for and printed. Throws AssembleError `usage`. */
export async function parse(argv: readonly string[]): Promise<Arguments | undefined> {
  let wanted: Arguments | undefined;
  const text = { type: "string", requiresArg: true, nargs: 1 } as const;
  await yargs()
    .scriptName(name)
    .command(
      "$0 <path>",
      "Build the disk image of a volume out of a sparsebak archive, checking every byte.",
      (command) =>
        command
          .positional("path", {
            type: "string",
            demandOption: true,
            describe:
              "the volume's directory in the archive; with a read key, --scrub or --untrash the archive",
          })
          .option("session", {
            ...text,
            describe: "label, beginning of a label, uid or tag; default: the newest",
          })
          .option("output", { ...text, alias: "o", describe: "file to make, or - for standard output" })
          .option("force", { type: "boolean", default: false, describe: "replace an existing file" })
          .option("list", { type: "boolean", default: false, describe: "list the volume's sessions" })
          .option("verify", { type: "boolean", default: false, describe: "check everything, write nothing" })
          .option("scrub", {
            type: "boolean",
            default: false,
            describe: "check every byte of the whole archive, without any key",
          })
          .option("untrash", {
            type: "boolean",
            default: false,
            describe: "show what was pruned or deleted and can still be had",
          })
          .option("head", { ...text, describe: "the state of head N instead of the newest" })
          .option("key", { ...text, describe: "file with a read key, or - for standard input" })
          .option("key-fd", { ...text, describe: "the same, a descriptor" })
          .option("passphrase-file", {
            ...text,
            describe:
              "file with the passphrase or the recovery form, /dev/fd/N for a descriptor; only in an offline qube",
          })
          .option("allow-older-head", {
            type: "boolean",
            default: false,
            describe: "where the newest head is damaged, use the one before it",
          })
          .option("json", { type: "boolean", default: false, describe: "one JSON object a line" })
          .option("quiet", {
            type: "boolean",
            default: false,
            alias: "q",
            describe: "say nothing but errors",
          })
          .option("report-progress", { type: "boolean", default: false, hidden: true })
          .option("progress", { type: "boolean", default: true, describe: "progress bar on a terminal" }),
      (found) => {
        const head = numberOf(found.head, /^[1-9]\d*$/, "--head", "the number of a head");
        const keyFd = numberOf(found.keyFd, /^\d+$/, "--key-fd", "the number of a descriptor");
        wanted = { ...found, head: head as Generation | undefined, keyFd };
      },
    )
    .version(programVersion)
    .alias("help", "h")
    .strict()
    .parserConfiguration({ "duplicate-arguments-array": false, "parse-positional-numbers": false })
    .detectLocale(false)
    .wrap(isatty(1) ? Math.max(60, Math.min(100, process.stdout.columns)) : 80)
    .exitProcess(false)
    .fail((message: string | null, error: Error | undefined) => {
      throw error instanceof AssembleError
        ? error
        : usageError(message ?? error?.message ?? "wrong arguments");
    })
    .parseAsync(argv);
  if (wanted !== undefined) checkCombination(wanted);
  return wanted;
}

function numberOf(
  text: string | undefined,
  digits: RegExp,
  option: string,
  wanted: string,
): number | undefined {
  if (text === undefined) return undefined;
  if (digits.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  throw usageError(`${option}: found «${text}», wanted ${wanted}`);
}

const modes = ["list", "verify", "scrub", "untrash"] as const;

function checkCombination(found: Arguments): void {
  const [mode, ...others] = modes.filter((each) => found[each]);
  if (others.length > 0) throw usageError(`--${mode} and --${others.join(", --")} exclude each other`);
  if (found.head !== undefined && (found.untrash || found.allowOlderHead))
    throw usageError("--head names one state; --untrash and --allow-older-head do not go with it");
  if (mode !== undefined) refuseBeside(mode, found);
  const keys = [found.key, found.keyFd, found.passphraseFile].filter((each) => each !== undefined);
  if (keys.length > 1) throw usageError("--key, --key-fd and --passphrase-file exclude each other");
  if (found.output === "") throw usageError("--output is empty, wanted a file or -");
  if (found.output === "-" && found.force)
    throw usageError("--output - replaces no file, --force does not go with it");
}

/** Whoever gives an option that would not be looked at expects something else than what would happen. */
function refuseBeside(mode: (typeof modes)[number], found: Arguments): void {
  const whole = mode === "scrub" || mode === "untrash";
  if (whole && (found.session ?? found.output) !== undefined)
    throw usageError(`--${mode} looks at the whole archive, --session and --output do not go with it`);
  if (mode === "list" && found.session !== undefined)
    throw usageError("--list shows all sessions, --session does not go with it");
  if (found.output !== undefined || found.force)
    throw usageError(`--${mode} writes no image, --output and --force do not go with it`);
  if (mode === "scrub" && (found.key ?? found.keyFd ?? found.passphraseFile) !== undefined)
    throw usageError("--scrub needs no key, --key, --key-fd and --passphrase-file do not go with it");
  if (mode === "scrub" && found.allowOlderHead)
    throw usageError("--scrub says what is damaged, --allow-older-head does not go with it; see --head");
  if (mode === "untrash" && found.allowOlderHead)
    throw usageError("--untrash looks at all older heads, --allow-older-head does not go with it");
}
