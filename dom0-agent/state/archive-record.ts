// What dom0 knows of an archive: its identity, the head that it accepts, the volumes by name. A receiver can't talk
// dom0 out of it (design section 8, "Keys" and "Rollback").

import { existsSync, readdirSync } from "node:fs";
import {
  type ArchiveUuid,
  type Digest,
  digestBytes,
  type Generation,
  type GroupId,
  type SessionUid,
  uidBytes,
  type VolumeId,
} from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { ArchivePaths } from "./layout.ts";
import { field, readRecord, writeRecord } from "./record.ts";

/** A head by its number and what it is. */
export interface HeadMark {
  readonly generation: Generation;
  readonly digest: Digest;
  readonly chain: Digest;
}

export interface KnownVolume {
  readonly name: string;
  readonly id: VolumeId;
  readonly group: GroupId;
  readonly directory: string;
}

export interface ArchiveRecord {
  readonly uuid: ArchiveUuid;
  readonly sealed: boolean;
  readonly chunkSize: number;
  readonly level: number;
  readonly idSeed: Uint8Array;
  /** The head that was accepted last; generation 0 before the first. */
  readonly head: HeadMark;
  readonly volumes: readonly KnownVolume[];
  /** Groups that the settings have named, and what they are in this archive. */
  readonly groups: readonly KnownGroup[];
}

export interface KnownGroup {
  readonly name: string;
  readonly id: GroupId;
}

/** What a step does, as far as dom0's own records have to follow it. */
export type StepNote =
  | { readonly what: "send"; readonly volume: VolumeId; readonly session: SessionUid }
  | { readonly what: "prune" | "tag" | "key" }
  | { readonly what: "rename"; readonly volume: VolumeId; readonly name: string }
  | { readonly what: "delete"; readonly volume: VolumeId };

/** A commit that may or may not have happened: written down before it is asked for. */
export interface Intent {
  readonly head: HeadMark;
  readonly step: StepNote;
}

export function readArchiveRecord(paths: ArchivePaths): ArchiveRecord | undefined {
  return readRecord(paths.archive, (value) => ({
    uuid: field.hex<ArchiveUuid>(value, "uuid", uidBytes),
    sealed: field.flag(value, "sealed"),
    chunkSize: field.chunkSize(value, "chunkSize"),
    level: field.number(value, "level"),
    idSeed: field.hex(value, "idSeed", 32),
    head: checkMark(value),
    volumes: checkVolumes(value["volumes"]),
    groups: checkGroups(value["groups"]),
  }));
}

/** Whether dom0 has something of an archive that it writes only where the record is: without the record it is lost then,
 *  while a creation that was cut short before it has left the key at most. */
export function hasRestOfState(paths: ArchivePaths): boolean {
  return [paths.headers, paths.volumes].some((path) => existsSync(path) && readdirSync(path).length > 0);
}

export function writeArchiveRecord(paths: ArchivePaths, record: ArchiveRecord): void {
  writeRecord(paths.archive, {
    uuid: toHex(record.uuid),
    sealed: record.sealed,
    chunkSize: record.chunkSize,
    level: record.level,
    idSeed: toHex(record.idSeed),
    ...markFields(record.head),
    volumes: record.volumes.map((each) => ({
      name: each.name,
      id: toHex(each.id),
      group: toHex(each.group),
      directory: each.directory,
    })),
    groups: record.groups.map((each) => ({ name: each.name, id: toHex(each.id) })),
  });
}

export function readIntent(paths: ArchivePaths): Intent | undefined {
  return readRecord(paths.intent, (value) => ({ head: checkMark(value), step: checkStep(value) }));
}

export function writeIntent(paths: ArchivePaths, { head, step }: Intent): void {
  writeRecord(paths.intent, {
    ...markFields(head),
    what: step.what,
    ...("volume" in step ? { volume: toHex(step.volume) } : {}),
    ...("session" in step ? { session: toHex(step.session) } : {}),
    ...("name" in step ? { name: step.name } : {}),
  });
}

function checkStep(value: Record<string, unknown>): StepNote {
  const what = field.text(value, "what");
  const volume = (): VolumeId => field.hex<VolumeId>(value, "volume", uidBytes);
  if (what === "send")
    return { what, volume: volume(), session: field.hex<SessionUid>(value, "session", uidBytes) };
  if (what === "rename") return { what, volume: volume(), name: field.text(value, "name") };
  if (what === "delete") return { what, volume: volume() };
  if (what === "prune" || what === "tag" || what === "key") return { what };
  throw new Error(`what: found «${what}», wanted a kind of step`);
}

function checkVolumes(value: unknown): KnownVolume[] {
  if (!Array.isArray(value)) throw new Error("volumes: wanted a list");
  return value.map((each: Record<string, unknown>) => ({
    name: field.text(each, "name"),
    id: field.hex<VolumeId>(each, "id", uidBytes),
    group: field.hex<GroupId>(each, "group", uidBytes),
    directory: field.text(each, "directory"),
  }));
}

function checkGroups(value: unknown): KnownGroup[] {
  if (!Array.isArray(value)) throw new Error("groups: wanted a list");
  return value.map((each: Record<string, unknown>) => ({
    name: field.text(each, "name"),
    id: field.hex<GroupId>(each, "id", uidBytes),
  }));
}

function checkMark(value: Record<string, unknown>): HeadMark {
  return {
    generation: field.number(value, "generation") as Generation,
    digest: field.hex<Digest>(value, "digest", digestBytes),
    chain: field.hex<Digest>(value, "chain", digestBytes),
  };
}

function markFields(mark: HeadMark): object {
  return { generation: mark.generation, digest: toHex(mark.digest), chain: toHex(mark.chain) };
}
