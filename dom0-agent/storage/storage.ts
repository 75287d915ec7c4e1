// What the agent needs from whatever holds the volumes: LVM thin now, image files now, Btrfs and XFS later. Callers
// choose by capability, never by name. test/suites/storage.ts is the suite that every implementation passes.

import type { Extent } from "../delta/extent.ts";
import type { RestoreStorage } from "./restore-target.ts";

/** What a storage can do beyond reading. */
export interface StorageCapabilities {
  /** It can freeze a volume (Storage.createSnapshots and what goes with it). Without, the volume itself is read. */
  readonly snapshots: boolean;
  /** It can tell what differs between two snapshots without reading them. */
  readonly delta: boolean;
}

/** One of our snapshots. Identity is `uuid`; the name is a label, and `thinId` is handed out again after a removal. */
export interface Snapshot {
  readonly uuid: string;
  readonly thinId: number;
  /** The volume it was made for, by its clean name. */
  readonly volume: string;
  /** Last part of its name: `tick`, `tock`, `send-…` or `look-…`. */
  readonly label: string;
  /** Name in the storage, e.g. `vm-work-private.tick`. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Our snapshots are read-only; one that is not any more is not vouched for. */
  readonly readOnly: boolean;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
}

/** A volume as it is now. */
export interface VolumeState {
  /** Clean name: `vm-work-private`, also while the VM runs, or the image file's path below the local path. */
  readonly name: string;
  /** Identity of what would be read: the LV's uuid (the `-snap`'s while the VM runs), or device and inode. */
  readonly uuid: string;
  /** Bytes. */
  readonly size: number;
  /** True where a snapshot is crash-consistent: a running VM writes to it, or a crash has left it so. */
  readonly crash: boolean;
  /** True for what a VM's last start left, when there is a newer working copy: only where that was asked for. */
  readonly behind?: boolean;
}

/** How full the pool is, in percent; `undefined` where the storage has no such limit. */
export interface PoolState {
  /** Identity: delta maps are vouched for in one pool only. */
  readonly uuid: string;
  /** Bytes of the pool's own chunks: 64 KiB to several MiB. */
  readonly chunkSize: number;
  readonly dataPercent: number | undefined;
  readonly metadataPercent: number | undefined;
}

/** All that one look at the storage gives. */
export interface Survey {
  readonly pool: PoolState;
  /** By clean name. Names that were asked for and are not there are missing here. */
  readonly volumes: ReadonlyMap<string, VolumeState>;
  /** Those of this installation only (StorageOptions.owner). */
  readonly snapshots: readonly Snapshot[];
  /** Names that were asked for and can't be used, with the reason: not thin, another pool, no udev rule … */
  readonly unusable: ReadonlyMap<string, string>;
}

/** A volume or snapshot that is open for reading. */
export interface OpenVolume extends AsyncDisposable {
  /** A file descriptor for positioned reads; worker threads read from it as well. */
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
  /** Throws StorageError `changed` if what was read may be torn: a plain file that was written to meanwhile. */
  checkUnchanged(): Promise<void>;
}

/** Deltas while the metadata is held still. */
export interface DeltaSource {
  /** Stretches that may differ between two snapshots, in rising order: exact or more, never less. Ranges past the end
   *  of `to` are clamped. Where `to` is larger than `from`, everything mapped beyond the smaller end is included. */
  between(from: Snapshot, to: Snapshot): AsyncIterable<Extent>;
  /** Stretches of a snapshot that are mapped, in rising order; what is not there reads as zeros. */
  mapped(of: Snapshot): AsyncIterable<Extent>;
}

export type StorageErrorCode =
  /** The volume or snapshot is gone. */
  | "gone"
  /** What was read changed meanwhile. */
  | "changed"
  /** The pool's data or metadata is fuller than the settings allow. */
  | "full"
  /** Somebody else holds the metadata snapshot. */
  | "held"
  /** A tool is missing, refused or failed. */
  | "tool"
  /** Not usable: not thin, wrong pool, no permission, no udev rule. */
  | "unusable";

/** The storage refused or failed; `hint` says what the user can do, where there is something. */
export class StorageError extends Error {
  override readonly name: string = "StorageError";
  readonly code: StorageErrorCode;
  readonly hint: string | undefined;

  constructor(code: StorageErrorCode, message: string, hint?: string) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

export interface SnapshotRequest {
  readonly volume: string;
  readonly label: string;
  /** Take what the VM's last start left (`vm-NAME-private`), not what it writes now (`-snap`). */
  readonly committed: boolean;
}

/** What became of a request: one bad volume does not stop the others. */
export type SnapshotOutcome =
  | { readonly ok: true; readonly snapshot: Snapshot; readonly source: VolumeState }
  | { readonly ok: false; readonly volume: string; readonly error: StorageError };

export interface Storage {
  readonly capabilities: StorageCapabilities;
  /** One look at the pool, the volumes named and our snapshots, with as few processes as possible. With `all`, every
   *  volume that could be backed up is in the answer. */
  survey(volumes: readonly string[], options?: { readonly all?: boolean }): Promise<Survey>;
  /** Makes read-only, active snapshots, each atomic by itself. Looks at the pool first and refuses all (StorageError
   *  `full`) when it is too full. A volume in the instant of its VM's stop is tried again before it is called gone. */
  createSnapshots(requests: readonly SnapshotRequest[]): Promise<readonly SnapshotOutcome[]>;
  /** Gives snapshots another label (`.tock` becomes `.tick`). */
  relabelSnapshots(
    changes: readonly { readonly snapshot: Snapshot; readonly label: string }[],
  ): Promise<void>;
  /** Removes snapshots; one that is gone already is fine. Removes nothing that is not ours. */
  dropSnapshots(snapshots: readonly Snapshot[]): Promise<void>;
  /** Holds the metadata still (one metadata snapshot for the whole run), calls `use`, and lets go in any case. First
   *  releases a reservation that a dead process of ours left behind, by its written intent; never anyone else's. */
  withMetadata<T>(use: (deltas: DeltaSource) => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** Opens a snapshot, or, where there are none, the volume itself. */
  openSnapshot(snapshot: Snapshot): Promise<OpenVolume>;
  openVolume(volume: VolumeState): Promise<OpenVolume>;
  /** Stretches of a volume without snapshots that may hold data, in rising order. */
  mappedOf(volume: VolumeState): AsyncIterable<Extent>;
  /** Restores volumes into the storage itself. */
  readonly restore: RestoreStorage;
  /** Lets go of reservations that our own dead processes left; called at the start of every command that writes. */
  recover(): Promise<void>;
}

/** What both kinds of storage are made with. */
export interface StorageOptions {
  /** 8 hexadecimal digits of this installation: goes into the snapshots' LVM tag, `sparsebak-OWNER`. */
  readonly owner: string;
  /** Directory for the written intent. */
  readonly stateDirectory: string;
  /** Limits in percent above which no snapshot is made. */
  readonly maxDataPercent: number;
  readonly maxMetadataPercent: number;
  readonly signal: AbortSignal;
}
