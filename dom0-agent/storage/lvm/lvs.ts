// One look at a volume group: what lvs prints, checked field by field.

import { runTool } from "../../tools.ts";
import { StorageError } from "../storage.ts";
import { isLvName } from "./names.ts";

/** A logical volume, or the pool. */
export interface LogicalVolume {
  readonly name: string;
  readonly uuid: string;
  readonly vgUuid: string;
  /** undefined for what is not thin. */
  readonly thinId: number | undefined;
  /** Empty for what is in no pool. */
  readonly poolUuid: string;
  /** What it was made from; empty when that is gone, or there was none. */
  readonly originUuid: string;
  /** Bytes. */
  readonly size: number;
  /** Read-only in LVM's own records, not only as it is active now. */
  readonly readOnly: boolean;
  readonly active: boolean;
  /** Something holds the device open: a running VM, say. */
  readonly open: boolean;
  readonly tags: readonly string[];
  /** Milliseconds since 1970; 0 where LVM does not know. */
  readonly createdAt: number;
  readonly isPool: boolean;
  /** Of a pool: `failed`, `out of data space`, `metadata read-only`, or undefined when it is well. */
  readonly trouble: string | undefined;
  /** Bytes of the pool's chunks; 0 for what is no pool. */
  readonly chunkSize: number;
  readonly dataPercent: number | undefined;
  readonly metadataPercent: number | undefined;
  /** Bytes of a pool's metadata; 0 for what is no pool. */
  readonly metadataSize: number;
  /** Of a pool: blocks are zeroed before a volume gets them. Without, what lies beside a write is what was there. */
  readonly zeroes: boolean;
}

const fields = [
  "vg_uuid",
  "lv_name",
  "lv_uuid",
  "thin_id",
  "origin_uuid",
  "pool_lv_uuid",
  "lv_size",
  "lv_attr",
  "lv_tags",
  "lv_time",
  "segtype",
  "chunk_size",
  "data_percent",
  "metadata_percent",
  "lv_metadata_size",
] as const;
type Field = (typeof fields)[number];

/** A host's lvm.conf may say otherwise for each of these. */
const reportConfig =
  'report { time_format="%s" list_item_separator="," binary_values_as_numeric=0 } log { report_command_log=0 prefix="" }';

const uuidPattern = /^[A-Za-z0-9]{6}(?:-[A-Za-z0-9]{4}){5}-[A-Za-z0-9]{6}$/;

/** All volumes of the group, by one process. Throws StorageError: `unusable` where there is no such group, `tool` when
 *  lvs fails or prints what we don't know. */
export async function listVolumes(vg: string, signal?: AbortSignal): Promise<readonly LogicalVolume[]> {
  const args = ["--reportformat", "json", "--units", "b", "--nosuffix", "--config", reportConfig];
  const result = await runTool(
    "lvs",
    [...args, "-o", fields.join(","), vg],
    signal === undefined ? {} : { signal },
  );
  signal?.throwIfAborted();
  if (result.exitCode === 0) return parseLvs(result.stdout);
  const why = (result.failure ?? result.stderr).trim().split("\n").join("; ").slice(0, 500);
  const missing = /Volume group "[^"]*" not found/.test(result.stderr);
  throw new StorageError(
    missing ? "unusable" : "tool",
    `look at volume group ${vg}: lvs: ${why}`,
    process.geteuid?.() === 0 ? (missing ? "vgname in sparsebak.ini names it" : undefined) : "LVM needs root",
  );
}

/** What lvs printed. Throws StorageError `tool` for anything unexpected. */
export function parseLvs(output: string): readonly LogicalVolume[] {
  let rows: unknown;
  try {
    const parsed = JSON.parse(output) as { report?: { lv?: unknown }[] } | null;
    rows = parsed?.report?.[0]?.lv;
  } catch {
    throw unexpected("text that is no JSON");
  }
  if (!Array.isArray(rows)) throw unexpected("no list of volumes");
  // One row for each segment: a volume that is not thin may have several.
  const byUuid = new Map<string, LogicalVolume>();
  for (const row of rows as unknown[]) {
    if (typeof row !== "object" || row === null) throw unexpected("a volume that is no object");
    const volume = parseRow(row as Record<string, unknown>);
    byUuid.set(volume.uuid, volume);
  }
  const names = new Set([...byUuid.values()].map((each) => each.name));
  if (names.size !== byUuid.size) throw unexpected("two volumes of one name");
  return [...byUuid.values()];
}

function parseRow(row: Record<string, unknown>): LogicalVolume {
  const text = (field: Field, pattern?: RegExp): string => {
    const value = row[field];
    if (typeof value !== "string") throw unexpected(`no ${field}`);
    if (pattern?.test(value) === false) throw unexpected(`${field} «${value.slice(0, 100)}»`);
    return value;
  };
  const whole = (field: Field): number => Number(text(field, /^\d{1,15}$/));
  const wholeOr = <T>(field: Field, fallback: T): number | T =>
    text(field) === "" ? fallback : whole(field);
  const percent = (field: Field): number | undefined =>
    text(field) === "" ? undefined : Number(text(field, /^\d{1,3}(?:\.\d+)?$/));
  const uuidOrNone = (field: Field): string => (text(field) === "" ? "" : text(field, uuidPattern));
  const name = text("lv_name");
  if (!isLvName(name)) throw unexpected(`lv_name «${name.slice(0, 100)}»`);
  const attributes = text("lv_attr", /^.{9,12}$/);
  const isPool = text("segtype") === "thin-pool";
  return {
    name,
    uuid: text("lv_uuid", uuidPattern),
    vgUuid: text("vg_uuid", uuidPattern),
    thinId: wholeOr("thin_id", undefined),
    poolUuid: uuidOrNone("pool_lv_uuid"),
    originUuid: uuidOrNone("origin_uuid"),
    size: whole("lv_size"),
    readOnly: attributes[1] === "r",
    active: attributes[4] === "a",
    open: attributes[5] === "o",
    tags: text("lv_tags").split(",").filter(Boolean),
    createdAt: wholeOr("lv_time", 0) * 1000,
    isPool,
    trouble: isPool ? troubles[attributes[8] ?? ""] : undefined,
    chunkSize: isPool ? whole("chunk_size") : 0,
    dataPercent: percent("data_percent"),
    metadataPercent: percent("metadata_percent"),
    metadataSize: isPool ? whole("lv_metadata_size") : 0,
    zeroes: attributes[7] === "z",
  };
}

/** The ninth letter of lv_attr. */
const troubles: Readonly<Record<string, string>> = {
  F: "failed",
  D: "out of data space",
  M: "metadata read-only",
};

function unexpected(what: string): StorageError {
  return new StorageError("tool", `read what lvs printed: found ${what}`);
}
