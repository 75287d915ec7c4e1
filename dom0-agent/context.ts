// What every command is given: settings, state, storage, and a way to say what happens.

import type { Settings } from "./config/settings.ts";
import type { StateLayout } from "./state/layout.ts";
import type { Storage } from "./storage/storage.ts";

/** What a command tells while it runs. The command line prints it; with --json each is a line. */
export interface Reporter {
  /** Something that the user should know, and that is not an error. */
  notice(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** Something that could not be done at all, when the run goes on with something else. */
  error(error: unknown, fields?: Readonly<Record<string, unknown>>): void;
  /** One line for each volume, when it is done or has failed. */
  volume(result: VolumeReport): void;
  /** How far the work on one volume is: bytes looked at, of how many. */
  progress(volume: string, done: number, total: number): void;
}

export interface VolumeReport {
  readonly volume: string;
  readonly command: string;
  readonly ok: boolean;
  readonly message: string;
  readonly hint?: string | undefined;
  readonly fields?: Readonly<Record<string, unknown>>;
}

export interface Context {
  readonly settings: Settings;
  readonly state: StateLayout;
  readonly storage: Storage;
  readonly report: Reporter;
  readonly signal: AbortSignal;
  /** Never asks anything. */
  readonly unattended: boolean;
  /** Asks a yes-or-no question; only called when not unattended. */
  confirm(question: string): Promise<boolean>;
  /** Whether to go on from a state of an archive that is not the one that dom0 remembers, nor made from it: said on the
   *  command line, or asked for where somebody is there to answer. */
  acceptRollback(what: string): Promise<boolean>;
  /** Asks for a passphrase without echo, a new one twice; only called when not unattended. */
  askPassphrase(what: "new" | "known"): Promise<string>;
  /** Whether what showSecret prints is seen on a terminal; else it would go into a file or another program. */
  readonly secretsAreSeen: boolean;
  /** Prints what is to be written down on paper, and nowhere else. What nobody asked for in so many words only where
   *  secretsAreSeen. */
  showSecret(lines: readonly string[]): void;
}
