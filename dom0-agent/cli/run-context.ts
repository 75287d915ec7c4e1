// From the options to what a command works with.

import { existsSync } from "node:fs";
import { loadSettings } from "../config/settings.ts";
import type { Context } from "../context.ts";
import { UnansweredError } from "../errors.ts";
import { ownerOf, stateLayout } from "../state/layout.ts";
import { setDamagedAside } from "../state/set-aside.ts";
import { takeLock } from "../state/lock.ts";
import { openStateDirectory } from "../state/state-directory.ts";
import type { Storage, StorageOptions } from "../storage/storage.ts";
import { confirm } from "./ask.ts";
import { askNewSecret, askSecret } from "./ask-secret.ts";
import type { GlobalOptions } from "./command-line.ts";
import type { Output } from "./output.ts";

/** Reads the settings and opens state and storage. */
export async function openContext(
  options: Pick<GlobalOptions, "config" | "unattended" | "accept-rollback" | "json">,
  output: Output,
  signal: AbortSignal,
): Promise<Context> {
  const settings = loadSettings(options.config);
  const state = stateLayout(settings.stateDirectory);
  openStateDirectory(settings.stateDirectory);
  let owner: string;
  if (existsSync(`${settings.stateDirectory}/owner`)) owner = ownerOf(settings.stateDirectory);
  else {
    using _lock = await takeLock(state.lock, "first run", 10);
    if (existsSync(`${settings.stateDirectory}/archives`))
      output.warn(
        `${settings.stateDirectory}/owner: it is lost: snapshots that were made before are not known as ours any more. Volumes are compared whole at the next send; the snapshots have the LVM tag sparsebak, to be removed by hand`,
      );
    owner = ownerOf(settings.stateDirectory);
  }
  setDamagedAside(state, (message) => output.warn(message));
  const { maxDataPercent, maxMetadataPercent } = settings;
  const storage = await openStorage(settings.source, {
    owner,
    stateDirectory: settings.stateDirectory,
    maxDataPercent,
    maxMetadataPercent,
    signal,
  });
  const { unattended } = options;
  return {
    settings,
    state,
    storage,
    report: output,
    signal,
    unattended,
    confirm: (question) => confirm(question, signal),
    acceptRollback: async (what) => {
      if (options["accept-rollback"]) return true;
      if (unattended || !process.stdin.isTTY) return false;
      try {
        return await confirm(`${what}. Go on from it, and forget what was sent since?`, signal);
      } catch (error) {
        if (error instanceof UnansweredError) return false;
        throw error;
      }
    },
    askPassphrase: async (what) =>
      what === "new"
        ? askNewSecret("passphrase", signal)
        : askSecret("Passphrase, or recovery form of the key", signal),
    secretsAreSeen: process.stdout.isTTY,
    showSecret: (lines) => {
      const text = lines.join("\n");
      process.stdout.write(`${options.json ? JSON.stringify({ type: "secret", text }) : text}\n`);
    },
  };
}

async function openStorage(source: Context["settings"]["source"], options: StorageOptions): Promise<Storage> {
  if (source.kind === "lvm") {
    const { lvmStorage } = await import("../storage/lvm/lvm-storage.ts");
    return lvmStorage(source, options);
  }
  const { fileStorage } = await import("../storage/file/file-storage.ts");
  return fileStorage(source, options);
}
