// Restoring into the storage that holds the volumes: never destroying first (design section 8, "Restore"). A new volume
// is filled beside the old one and takes its name only when it is complete; the old one is kept under another name.

import type { Kept } from "../state/kept.ts";

/** What a volume is restored into. Disposing of it before `publish` removes what was made. */
export interface RestoreTarget extends AsyncDisposable {
  /** Open for reading and writing. */
  readonly fd: number;
  /** Bytes that it has room for: what was asked for, or more where the storage counts in larger units. */
  readonly size: number;
  /** True where everything that is not written reads as zeros. */
  readonly blank: boolean;
  /** For messages. */
  readonly name: string;
  /** Makes what was written last, and gives it the volume's name. `keep` is told, before anything is renamed, what will
   *  be put aside. Gives notices for the user. Throws StorageError or AgentError; then the volume is what it was. */
  publish(keep: (kept: Kept) => void): Promise<readonly string[]>;
}

export interface TargetRequest {
  /** Clean name. */
  readonly volume: string;
  /** Bytes. */
  readonly size: number;
  /** Bytes that will be mapped where the storage maps in pieces of so many bytes: checked against what is free. */
  readonly needs: (pieceSize: number) => number;
  /** The snapshot whose content the target begins with, so that only what differs has to be written. */
  readonly base?: { readonly uuid: string } | undefined;
}

/** What of Storage restores. One restore at a time (the caller's lock). */
export interface RestoreStorage {
  /** Settles what a restore that was cut short has left: a swap is finished or undone, half-made targets go. What it
   *  can't tell to be half made, it leaves, and gives. */
  settle(): Promise<readonly Unsettled[]>;
  /** Makes a target beside the volume, which need not exist. Throws StorageError: `unusable` for a volume in use or of
   *  the wrong kind, `full` where the room is too small. */
  createTarget(request: TargetRequest): Promise<RestoreTarget>;
  /** Opens the volume itself, resized to what is asked for. Throws the same, and `gone`. */
  openInPlace(request: TargetRequest): Promise<RestoreTarget>;
  /** Throws StorageError `full` unless so much more can be mapped: for targets that were made before it was known. */
  checkRoom(needs: TargetRequest["needs"]): Promise<void>;
  /** Removes what was put aside, if it still is what it was. */
  dropKept(kept: Kept): Promise<DropOutcome>;
}

/** A volume whose name nothing has, while two wait for it; which of them is to have it, only a person can say. */
export interface Unsettled {
  readonly volume: string;
  /** What there is, and what to do about it. For messages. */
  readonly why: string;
  readonly hint: string;
}

/** What became of what was put aside: removed; not there any more under its name; or left alone, because something else
 *  has its name, or because nothing has the volume's, and it may be all that is left of that. */
export type DropOutcome = "removed" | "gone" | "unrecognised" | "last";
