// Making, renaming and removing our snapshots: batches in one lvm process, then one look at what is there. What failed
// in a batch is tried once more alone, which gives it its own words, and a VM that was just stopping its second chance.

import { setTimeout as sleep } from "node:timers/promises";
import { InternalError } from "../../../protocol/errors.ts";
import {
  type Snapshot,
  type SnapshotOutcome,
  type SnapshotRequest,
  StorageError,
  type StorageOptions,
} from "../storage.ts";
import { type LvmCommand, runAlone, runTogether } from "./lvm-commands.ts";
import type { LogicalVolume } from "./lvs.ts";
import { isLabel, mayBeStopping, snapshotName } from "./names.ts";
import { current, findSource, type Look, ownerTag, refuseFullPool, type Source } from "./volume-group.ts";

/** Looks for a volume whose VM is just stopping, and the milliseconds between them. */
const looks = 5;
const pauseMs = 300;

type Looker = () => Promise<Look>;

/** Storage.createSnapshots. */
export async function createSnapshots(
  requests: readonly SnapshotRequest[],
  look: Looker,
  options: StorageOptions,
): Promise<readonly SnapshotOutcome[]> {
  if (requests.length === 0) return [];
  requests.forEach(({ label }) => mustBeLabel(label));
  const outcomes = new Map<SnapshotRequest, SnapshotOutcome>();
  const fail = (request: SnapshotRequest, error: StorageError): void =>
    void outcomes.set(request, { ok: false, volume: request.volume, error });
  let pending: readonly SnapshotRequest[] = requests;
  let seen = await look();
  refuseFullPool(seen, options);
  const before = new Set(seen.snapshots.map((each) => each.uuid));
  for (let round = 1; pending.length > 0; round++) {
    const found = new Map<SnapshotRequest, Source>();
    const said = new Map<SnapshotRequest, string>();
    for (const request of pending) {
      const source = findSource(seen, request);
      const taken = inTheWay(seen, request, options);
      if (!(source instanceof StorageError)) {
        if (taken !== undefined) fail(request, nameTaken(seen.vg, request, taken, options));
        else found.set(request, source);
      } else if (source.code !== "gone" || round === looks || !mayBeStopping(request.volume))
        fail(request, source);
    }
    const commands = [...found].map(([request, source]) => createCommand(seen, request, source, options));
    if (round === 1) await runTogether(commands, options.signal);
    else {
      for (const [i, request] of [...found.keys()].entries()) {
        options.signal.throwIfAborted();
        const complaint = await runAlone(commands[i] ?? []);
        if (complaint !== undefined) said.set(request, complaint);
      }
    }
    const waiting = pending.some((each) => !found.has(each) && !outcomes.has(each));
    if (waiting) await sleep(pauseMs, undefined, { signal: options.signal });
    seen = await look();
    for (const [request, source] of found) {
      const name = snapshotName(request.volume, request.label);
      const snapshot = seen.snapshots.find((each) => each.name === name && !before.has(each.uuid));
      const complaint = said.get(request);
      if (snapshot !== undefined) {
        outcomes.set(request, { ok: true, snapshot, source: sourceState(seen, source, snapshot) });
      } else if (round === looks || (complaint !== undefined && stillThere(seen, request, source))) {
        const why = complaint ?? "lvcreate made nothing, and said nothing";
        fail(request, new StorageError("tool", `${request.volume}: make the snapshot ${name}: ${why}`));
      }
    }
    pending = pending.filter((each) => !outcomes.has(each));
  }
  return requests.map((each) => outcomes.get(each) ?? impossible(each));
}

/** A name that changed hands between two looks failed for that reason alone. */
function stillThere(seen: Look, request: SnapshotRequest, source: Source): boolean {
  const now = findSource(seen, request);
  return !(now instanceof StorageError) && now.lv.name === source.lv.name && now.lv.uuid === source.lv.uuid;
}

/** What the snapshot was really made from: between the look and lvcreate, a VM may have put another LV in the place. */
function sourceState(seen: Look, source: Source, snapshot: Snapshot): Source["state"] {
  const originUuid = seen.byName.get(snapshot.name)?.originUuid ?? "";
  const uuid = originUuid === "" ? source.state.uuid : originUuid;
  return { ...source.state, uuid, size: snapshot.size };
}

function createCommand(
  { vg }: Look,
  { volume, label }: SnapshotRequest,
  { lv }: Source,
  options: StorageOptions,
): LvmCommand {
  const tags = ["--addtag", "sparsebak", "--addtag", ownerTag(options)];
  return [
    "lvcreate",
    "-kn",
    "-ay",
    "-pr",
    "-s",
    `${vg}/${lv.name}`,
    "-n",
    snapshotName(volume, label),
    ...tags,
  ];
}

/** What has the name that the snapshot is to have, or the one that a `.tock` is to have later, and is not ours. */
function inTheWay(
  { byName }: Look,
  { volume, label }: SnapshotRequest,
  options: StorageOptions,
): LogicalVolume | undefined {
  const there = byName.get(snapshotName(volume, label));
  if (there !== undefined || label !== "tock") return there;
  const tick = byName.get(snapshotName(volume, "tick"));
  return tick?.tags.includes(ownerTag(options)) === true ? undefined : tick;
}

function nameTaken(
  vg: string,
  { volume }: SnapshotRequest,
  { name, tags }: LogicalVolume,
  options: StorageOptions,
): StorageError {
  const unusable = (why: string, hint?: string): StorageError =>
    new StorageError("unusable", `${volume}: make a snapshot: ${why}`, hint);
  const owner = tags.find((each) => /^sparsebak-[0-9a-f]{8}$/.test(each));
  if (owner === ownerTag(options)) return unusable(`${name} is there already`);
  if (owner !== undefined)
    return unusable(
      `${name} is there, made by a sparsebak whose state is not in ${options.stateDirectory}`,
      `where that state is lost, lvremove @${owner} removes all its snapshots`,
    );
  return unusable(
    `a volume ${name} exists that is not ours, and is left alone`,
    `lvs -o lv_tags ${vg}/${name} shows whose it is; rename or remove it`,
  );
}

/** Storage.relabelSnapshots. */
export async function relabelSnapshots(
  changes: readonly { readonly snapshot: Snapshot; readonly label: string }[],
  look: Looker,
  options: StorageOptions,
): Promise<void> {
  if (changes.length === 0) return;
  changes.forEach(({ label }) => mustBeLabel(label));
  const seen = await look();
  const commandFor = (now: Look, { snapshot, label }: (typeof changes)[number]): LvmCommand | undefined => {
    const found = current(now, snapshot);
    if (found === undefined) {
      throw new StorageError("gone", `rename ${snapshot.name} to .${label}: the snapshot is gone`);
    }
    if (found.label === label) return undefined;
    return ["lvrename", now.vg, found.name, snapshotName(found.volume, label)];
  };
  await runTogether(
    changes.flatMap((each) => [commandFor(seen, each) ?? []].filter((command) => command.length > 0)),
    options.signal,
  );
  const after = await look();
  for (const change of changes) {
    const command = commandFor(after, change);
    if (command === undefined) continue;
    const complaint = await runAlone(command);
    if (complaint !== undefined) {
      throw new StorageError("tool", `rename ${change.snapshot.name} to .${change.label}: ${complaint}`);
    }
  }
}

/** Storage.dropSnapshots. Each is looked up by its uuid and our tag right before, so that nothing else can go. */
export async function dropSnapshots(
  snapshots: readonly Snapshot[],
  look: Looker,
  options: StorageOptions,
): Promise<void> {
  if (snapshots.length === 0) return;
  const seen = await look();
  const removal = (now: Look, name: string): LvmCommand => ["lvremove", "-f", `${now.vg}/${name}`];
  const living = new Map(
    snapshots.flatMap((each) => current(seen, each) ?? []).map((each) => [each.uuid, each]),
  );
  if (living.size === 0) return;
  await runTogether(
    [...living.values()].map((each) => removal(seen, each.name)),
    options.signal,
  );
  const after = await look();
  for (const each of living.values()) {
    const left = current(after, each);
    const complaint = left && (await runAlone(removal(after, left.name)));
    if (complaint !== undefined)
      throw new StorageError("tool", `remove the snapshot ${each.name}: ${complaint}`);
  }
}

function mustBeLabel(label: string): void {
  if (!isLabel(label))
    throw new InternalError(`a snapshot's label: found «${label}», wanted tick, tock or send-…`);
}

function impossible({ volume, label }: SnapshotRequest): never {
  throw new InternalError(`no outcome for ${volume}.${label}`);
}
