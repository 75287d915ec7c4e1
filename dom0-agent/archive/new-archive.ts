// What a new archive is to be: sealed, unless the settings say otherwise, which is then said aloud (design section 8).

import { recoveryForm } from "../../protocol/seal/recovery.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { checkNewPassphrase } from "../keys/passphrase.ts";
import { where } from "./archive.ts";
import type { Context } from "../context.ts";
import type { NewArchive } from "./create-archive.ts";

/** Where the first passphrase comes from: somebody is asked, it was given, or there is to be none. */
export type FirstPassphrase =
  | { readonly kind: "ask" }
  | { readonly kind: "given"; readonly passphrase: string }
  | { readonly kind: "none" };

/** Decides, asks and says. Throws AgentError `usage` where somebody has to decide and nobody is there. */
export async function newArchive(
  context: Context,
  settings: ArchiveSettings,
  first: FirstPassphrase,
): Promise<NewArchive> {
  const sealed = settings.encryption !== "off";
  const what = `make a new archive at ${where(settings)}`;
  if (!sealed)
    context.report.warn(
      `${what}: encryption = off: whoever has the drive or its VM can read everything in it. What they alter is still noticed`,
    );
  if (sealed && first.kind === "ask" && context.unattended)
    throw new AgentError(
      "usage",
      `${what}: it is to be sealed, and needs a passphrase`,
      "run sparsebak init once, or, to store data that the destination can read, add «encryption = off» to the settings",
    );
  const passphrases = await firstPassphrases(context, sealed, first);
  return {
    sealed,
    passphrases,
    onMade: (master) => {
      context.report.notice(`${what}: made, ${sealed ? "sealed" : "not sealed"}`);
      sayRecovery(context, sealed, master);
    },
  };
}

/** Shows the recovery form of a new archive's key where only somebody at a terminal sees it; else says how to. */
export function sayRecovery(context: Context, sealed: boolean, master: Uint8Array): void {
  if (context.unattended || !sealed || !context.secretsAreSeen) {
    context.report.notice("sparsebak key --show-recovery prints its key: keep it on paper, away from here");
    return;
  }
  context.showSecret(recoveryLines(sealed, master));
}

async function firstPassphrases(
  context: Context,
  sealed: boolean,
  first: FirstPassphrase,
): Promise<readonly string[]> {
  if (first.kind === "none" || (first.kind === "ask" && !sealed)) return [];
  const passphrase = first.kind === "given" ? first.passphrase : await context.askPassphrase("new");
  checkNewPassphrase(passphrase);
  return [passphrase];
}

/** The recovery form of an archive's key, and above it what it is good for. */
export function recoveryLines(sealed: boolean, master: Uint8Array): readonly string[] {
  const text = sealed
    ? [
        "Recovery form of the archive's key. Whoever has it can read the archive; without it, the key file and the",
        "passphrases, nobody can. Write it down and keep it away from this machine and from the drive:",
      ]
    : [
        "Recovery form of the archive's key. The archive is not sealed: anybody can read it without. With the key another",
        "machine takes it over (sparsebak init --join), and whoever has it can alter the archive unnoticed. Write it down",
        "and keep it away from this machine and from the drive:",
      ];
  return [...text, recoveryForm(master)];
}
