// sparsebak receive

import { resolve } from "node:path";
import { AgentError, type ExitReason } from "../../errors.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import { isPattern, matchNames } from "../../archive/match-names.ts";
import { type CommandLine, volumesOf } from "../command-line.ts";
import type { Output } from "../output.ts";

export function addReceive({ parser, perform }: CommandLine): void {
  parser.command(
    "receive [volumes..]",
    "restore volumes",
    (command) =>
      volumesOf(command, "volumes or patterns; --all for all of the archive")
        .option("session", {
          type: "string",
          requiresArg: true,
          describe: "S_…, a tag or a uid; without, the newest",
        })
        .option("save-to", {
          type: "string",
          requiresArg: true,
          describe: "a file or a block device, instead of where the volume came from",
        })
        .option("in-place", {
          type: "boolean",
          default: false,
          describe: "write over the volume itself, keeping nothing of it",
        })
        .option("sparse-write", {
          type: "boolean",
          default: false,
          describe: "compare with what is there and write only what differs (with --in-place or --save-to)",
        })
        .option("base", {
          type: "boolean",
          default: true,
          describe: "begin with the volume's last snapshot, checked chunk by chunk",
        })
        .option("confirm", {
          type: "boolean",
          default: false,
          describe: "the restored volumes are good: remove the old ones that were kept",
        })
        .option("force", {
          type: "boolean",
          default: false,
          describe: "replace the file that --save-to names",
        }),
    async (options) => perform(options, async (context, output) => runReceive(context, output, options)),
  );
}

interface Options {
  readonly volumes: readonly string[];
  readonly all: boolean;
  readonly dest: string | undefined;
  readonly session: string | undefined;
  readonly saveTo: string | undefined;
  readonly inPlace: boolean;
  readonly sparseWrite: boolean;
  readonly base: boolean;
  readonly confirm: boolean;
  readonly force: boolean;
}

async function runReceive(context: Context, output: Output, options: Options): Promise<ExitReason> {
  const { volumes, all, saveTo } = options;
  if (volumes.length === 0 && !all)
    throw new AgentError(
      "usage",
      "receive: found no volume, wanted one or more",
      "--all takes all of the archive",
    );
  if (options.confirm) {
    refuseBesideConfirm(options);
    return confirmKept(context, output, options);
  }
  if (saveTo !== undefined && (all || volumes.length !== 1))
    throw new AgentError(
      "usage",
      `receive --save-to: found ${all ? "--all" : `${volumes.length} volumes`}, wanted one`,
    );
  const pattern = saveTo === undefined ? undefined : volumes.find(isPattern);
  if (pattern !== undefined)
    throw new AgentError(
      "usage",
      `receive --save-to: found the pattern «${pattern}», wanted the name of one volume`,
      "each that it fits would be written over the one before",
    );
  if (saveTo === "-")
    throw new AgentError(
      "usage",
      "receive --save-to: found «-», wanted a file or a block device: an image is not written in order, so it can't go to a pipe",
      "a file that is called so is ./-",
    );
  if (saveTo !== undefined && options.inPlace)
    throw new AgentError("usage", "receive: --save-to and --in-place exclude each other");
  if (options.sparseWrite && !options.inPlace && saveTo === undefined) {
    throw new AgentError(
      "usage",
      "receive --sparse-write: found neither --in-place nor --save-to, wanted one of them",
      "without, the volume's last snapshot is compared with anyway, and the old volume is kept",
    );
  }
  if (options.force && saveTo === undefined)
    throw new AgentError("usage", "receive: --force goes with --save-to");
  if (!options.base && (options.inPlace || saveTo !== undefined))
    throw new AgentError("usage", "receive: --no-base goes with neither --save-to nor --in-place");
  const archive = chooseArchive(context.settings, options.dest);
  const { receive } = await import("../../session/receive.ts");
  const { dropExpired } = await import("../../restore/drop-kept.ts");
  await dropExpired(context);
  const path = saveTo === undefined ? undefined : resolve(saveTo);
  return receive(context, archive, all ? "all" : volumes, { ...options, saveTo: path });
}

/** Nothing is restored then, and no archive is asked. */
function refuseBesideConfirm(options: Options): void {
  const { session, saveTo, inPlace, sparseWrite, base, force, dest } = options;
  if (session !== undefined || saveTo !== undefined || inPlace || sparseWrite || !base || force)
    throw new AgentError(
      "usage",
      "receive: --confirm restores nothing: options of a restore do not go with it",
    );
  if (dest !== undefined)
    throw new AgentError(
      "usage",
      "receive: --confirm reaches no destination, --dest does not go with it",
      "what a restore has put aside is removed, whichever archive it came from",
    );
}

/** `receive --confirm VOL…`: what was kept of them goes. */
async function confirmKept(context: Context, output: Output, { volumes, all }: Options): Promise<ExitReason> {
  const { dropKept, isLeft, whyLeft } = await import("../../restore/drop-kept.ts");
  const { readKept } = await import("../../state/kept.ts");
  const known = [...new Set(readKept(context.state).map((each) => each.volume))];
  const { found, unmatched } = matchNames(volumes, known);
  const named = new Set(all ? known : found);
  const dropped = await dropKept(context, (kept) => named.has(kept.volume));
  for (const { volume, name, outcome } of dropped) {
    const text = {
      removed: `${name} removed`,
      gone: `${name} was not there any more`,
      unrecognised: `${name} not removed: ${whyLeft.unrecognised}`,
      last: `${name} not removed: ${whyLeft.last}`,
    }[outcome];
    const removed = outcome === "removed" ? name : null;
    output.line(`${volume}: ${text}`, { type: "confirm", volume, removed, name, outcome });
  }
  for (const volume of unmatched)
    output.line(`${volume}: no old volume is kept`, { type: "confirm", volume, removed: null });
  return dropped.some(({ outcome }) => isLeft(outcome)) ? "failed" : "done";
}
