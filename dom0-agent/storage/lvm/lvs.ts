// One look at a volume group: what lvs prints, checked field by field.

import { runTool } from "../../tools.ts";
import { StorageError } from "../storage.ts";

/** A logical volume, or the pool. */
export interface LogicalVolume {
  readonly name: string;
  readonly uuid: string;
  /** undefined for what is not thin. */
  readonly thinId: number | undefined;
  readonly poolUuid: string;
  /** Bytes. */
  readonly size: number;
  readonly writable: boolean;
  readonly active: boolean;
  /** Something holds the device open: a running VM, say. */
  readonly open: boolean;
  readonly tags: readonly string[];
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly isPool: boolean;
  /** Bytes of the pool's chunks; 0 for what is no pool. */
  readonly chunkSize: number;
  readonly dataPercent: number | undefined;
  readonly metadataPercent: number | undefined;
}

const fields = [
  "lv_name",
  "lv_uuid",
  "thin_id",
  "pool_lv_uuid",
  "lv_size",
  "lv_attr",
  "lv_tags",
  "lv_time",
  "segtype",
  "chunk_size",
  "data_percent",
  "metadata_percent",
] as const;
type Field = (typeof fields)[number];

/** All volumes of the group, by one process. Throws StorageError `tool` when lvs fails or prints what we don't know. */
export async function listVolumes(vg: string, signal?: AbortSignal): Promise<readonly LogicalVolume[]> {
  const args = [
    "--reportformat",
    "json",
    "--units",
    "b",
    "--nosuffix",
    "--config",
    'report { time_format="%s" }',
  ];
  const result = await runTool(
    "lvs",
    [...args, "-o", fields.join(","), vg],
    signal === undefined ? {} : { signal },
  );
  if (result.exitCode !== 0) {
    const why = result.failure ?? result.stderr.trim();
    throw new StorageError(
      "tool",
      `look at volume group ${vg}: lvs: ${why}`,
      process.geteuid?.() === 0 ? undefined : "LVM needs root",
    );
  }
  return parseLvs(result.stdout);
}

/** What lvs printed. Throws StorageError `tool` for anything unexpected. */
export function parseLvs(output: string): readonly LogicalVolume[] {
  let rows: unknown;
  try {
    const parsed = JSON.parse(output) as { report?: { lv?: unknown }[] };
    rows = parsed.report?.[0]?.lv;
  } catch {
    throw unexpected("text that is no JSON");
  }
  if (!Array.isArray(rows)) throw unexpected("no list of volumes");
  return rows.map((row) => parseRow(row as Record<string, unknown>));
}

function parseRow(row: Record<string, unknown>): LogicalVolume {
  const text = (field: Field): string => {
    const value = row[field];
    if (typeof value !== "string") throw unexpected(`no ${field}`);
    return value;
  };
  const whole = (field: Field): number => {
    const value = text(field);
    if (!/^\d{1,16}$/.test(value)) throw unexpected(`${field} «${value}»`);
    return Number(value);
  };
  const percent = (field: Field): number | undefined => {
    const value = text(field);
    if (value === "") return undefined;
    if (!/^\d{1,3}(\.\d+)?$/.test(value)) throw unexpected(`${field} «${value}»`);
    return Number(value);
  };
  const attributes = text("lv_attr");
  const uuid = text("lv_uuid");
  if (attributes.length < 6) throw unexpected(`lv_attr «${attributes}»`);
  if (!/^[A-Za-z0-9-]{38}$/.test(uuid)) throw unexpected(`lv_uuid «${uuid}»`);
  return {
    name: text("lv_name"),
    uuid,
    thinId: text("thin_id") === "" ? undefined : whole("thin_id"),
    poolUuid: text("pool_lv_uuid"),
    size: whole("lv_size"),
    writable: attributes[1] === "w",
    active: attributes[4] === "a",
    open: attributes[5] === "o",
    tags: text("lv_tags").split(",").filter(Boolean),
    createdAt: whole("lv_time") * 1000,
    isPool: text("segtype") === "thin-pool",
    chunkSize: text("chunk_size") === "" ? 0 : whole("chunk_size"),
    dataPercent: percent("data_percent"),
    metadataPercent: percent("metadata_percent"),
  };
}

function unexpected(what: string): StorageError {
  return new StorageError("tool", `read what lvs printed: found ${what}`);
}
