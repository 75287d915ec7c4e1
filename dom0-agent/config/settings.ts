// sparsebak.ini: the original's keys, and a few more (design section 3). Everything is checked here, once, so that
// the rest of the program works with values that are right.

import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parse } from "ini";
import { isVolumeName } from "../../protocol/archive/names.ts";
import { defaultChunkSize, isChunkSize } from "../../protocol/archive/types.ts";
import { AgentError } from "../errors.ts";
import { checkLines } from "./check-lines.ts";
import { defaultGroups, type GroupSettings } from "./groups.ts";
import { hasLimit, type Retention } from "./retention.ts";
import { retentionFrom, retentionKeys } from "./keep-keys.ts";
import { destinationOf } from "../transport/destination.ts";
import { nearest } from "./nearest.ts";

export type SourceSettings =
  | { readonly kind: "lvm"; readonly vg: string; readonly pool: string }
  | { readonly kind: "files"; readonly localPath: string };

/** One destination. */
export interface ArchiveSettings {
  /** `default` for the one in [var], else the NAME of [archive NAME]. */
  readonly name: string;
  /** A VM's name, `none`, or `ssh://user@host[:port]`. */
  readonly destvm: string;
  readonly mountpoint: string;
  /** Relative to the mountpoint; empty for the mountpoint itself. */
  readonly directory: string;
  /** What the file says: `off`, `on`, or nothing. */
  readonly encryption: "off" | "on" | undefined;
  /** Bytes and zstd level of an archive that is made. */
  readonly chunkSize: number;
  readonly level: number;
  /** What prune keeps where the command line says nothing; undefined where the file says nothing either. */
  readonly retention: Retention | undefined;
  readonly pruneAfterSend: boolean;
}

export interface Settings {
  readonly file: string;
  readonly stateDirectory: string;
  readonly source: SourceSettings;
  readonly archives: readonly ArchiveSettings[];
  /** Volumes in the order of the file, and whether each is enabled. */
  readonly volumes: ReadonlyMap<string, boolean>;
  /** Volumes that share chunks; the first group that fits a volume counts. */
  readonly groups: readonly GroupSettings[];
  readonly maxDataPercent: number;
  readonly maxMetadataPercent: number;
  /** Days for which the old volume is kept after a restore that nobody confirms. */
  readonly keepOldDays: number;
  /** Days for which the snapshot of a volume that was removed from this machine is kept. */
  readonly keepGoneDays: number;
  /** Start the destination VM when it is halted. */
  readonly startVm: boolean;
  /** Seconds without progress of the other side after which it is given up. */
  readonly stallSeconds: number;
  /** Settings of the receiver where it is a child of ours (destvm = none); undefined: its own rules. */
  readonly receiverSettings: string | undefined;
}

/** What --dest calls every destination, one after another; no archive has that name. */
export const allArchives = "all";

const archiveKeys = [
  "destvm",
  "destmountpoint",
  "destdir",
  "encryption",
  "chunk-size",
  "compression-level",
  ...retentionKeys,
  "prune-after-send",
] as const;
const varKeys = [
  "vgname",
  "poolname",
  "localpath",
  ...archiveKeys,
  "max-data-percent",
  "max-metadata-percent",
  "keep-old-days",
  "keep-gone-days",
  "start-vm",
  "stall-seconds",
  "receiver-settings",
] as const;
type Key = (typeof varKeys)[number];

const searched = [
  { file: "/sparsebak/sparsebak.ini", state: "/sparsebak" },
  { file: "/etc/sparsebak/sparsebak.ini", state: "/var/lib/sparsebak" },
] as const;

/** Reads the file that `--config` names, or the first that is found. Throws AgentError `usage`. */
export function loadSettings(configOption: string | undefined): Settings {
  const found =
    configOption === undefined
      ? searched.find((each) => existsSync(each.file))
      : { file: resolve(configOption), state: dirname(resolve(configOption)) };
  if (found === undefined) {
    const places = searched.map((each) => each.file).join(", ");
    throw usage(`no settings found; looked for ${places}`, "write one of them, or name a file with --config");
  }
  let content: string;
  try {
    content = readFileSync(found.file, "utf8");
  } catch (error) {
    throw usage(`read settings: ${found.file}: ${error instanceof Error ? error.message : String(error)}`);
  }
  return parseSettings(content, found.file, found.state);
}

/** The settings that `content` holds; `file` is for messages. State lives beside a file that --config named. */
export function parseSettings(content: string, file: string, stateDirectory: string): Settings {
  // Editors of other systems begin a file with a mark of its encoding.
  const sections = sectionsOf(content.replace(/^\uFEFF/, ""), file);
  const main = keysOf(sections.get("var"), "var", varKeys, file);
  const archives: ArchiveSettings[] = [];
  if (main.has("destvm") || main.has("destmountpoint"))
    archives.push(archiveFrom("default", "var", main, main, file));
  for (const [section, values] of sections) {
    if (!section.startsWith("archive ")) continue;
    const name = section.slice("archive ".length).trim();
    if (!isLabel(name) || archives.some((each) => each.name === name)) {
      throw usage(
        `${file}: [${section}]: found the name «${name}», wanted letters, digits, _ and -, once each`,
      );
    }
    if (name === allArchives)
      throw usage(`${file}: [${section}]: the name «${name}» stands for all destinations, wanted another`);
    archives.push(archiveFrom(name, section, keysOf(values, section, archiveKeys, file), main, file));
  }
  const wanted = { file, main };
  return {
    file,
    stateDirectory,
    source: sourceFrom(main, file),
    archives,
    volumes: volumesFrom(sections.get("volumes"), file),
    groups: groupsFrom(sections.get("groups"), file),
    maxDataPercent: percent(wanted, "max-data-percent", 95),
    maxMetadataPercent: percent(wanted, "max-metadata-percent", 90),
    keepOldDays: number(wanted, "keep-old-days", 30, 0, 36_500),
    keepGoneDays: number(wanted, "keep-gone-days", 30, 0, 36_500),
    startVm: yesNo(wanted, "start-vm", true),
    stallSeconds: number(wanted, "stall-seconds", 300, 5, 86_400),
    receiverSettings: main.get("receiver-settings"),
  };
}

function sectionsOf(content: string, file: string): Map<string, Readonly<Record<string, unknown>>> {
  const sections = new Map<string, Readonly<Record<string, unknown>>>();
  checkLines(content, file);
  for (const [section, values] of Object.entries<unknown>(parse(content))) {
    if (typeof values !== "object" || values === null) {
      throw usage(`${file}: «${section}» stands outside of a section`, "put it below [var]");
    }
    const known = section === "var" || section === "volumes" || section === "groups";
    if (!known && !section.startsWith("archive ")) {
      const meant = nearest(section, ["var", "volumes", "groups", "archive NAME"]);
      throw usage(
        `${file}: unknown section [${section}]`,
        meant === undefined ? undefined : `is it [${meant}]?`,
      );
    }
    sections.set(section, values as Readonly<Record<string, unknown>>);
  }
  return sections;
}

function keysOf<K extends Key>(
  values: Readonly<Record<string, unknown>> | undefined,
  section: string,
  known: readonly K[],
  file: string,
): ReadonlyMap<K, string> {
  const keys = new Map<K, string>();
  for (const [key, value] of Object.entries(values ?? {})) {
    if (!(known as readonly string[]).includes(key)) {
      const meant = nearest(key, known);
      throw usage(
        `${file}: unknown key «${key}» in [${section}]`,
        meant === undefined ? `known keys: ${known.join(", ")}` : `is it «${meant}»?`,
      );
    }
    if (typeof value !== "string" && typeof value !== "boolean") {
      throw usage(`${file}: ${key}: found a list, wanted one value`);
    }
    keys.set(key as K, String(value).trim());
  }
  return keys;
}

function sourceFrom(main: ReadonlyMap<Key, string>, file: string): SourceSettings {
  const vg = main.get("vgname");
  const pool = main.get("poolname");
  const localPath = main.get("localpath");
  if (localPath !== undefined && (vg !== undefined || pool !== undefined)) {
    throw usage(`${file}: localpath and vgname/poolname exclude each other`);
  }
  if (localPath !== undefined) {
    if (!localPath.startsWith("/"))
      throw usage(`${file}: localpath: found «${localPath}», wanted an absolute path`);
    return { kind: "files", localPath };
  }
  for (const [key, value] of [
    ["vgname", vg],
    ["poolname", pool],
  ] as const) {
    if (value === undefined || !/^[A-Za-z0-9_+.][A-Za-z0-9_+.-]*$/.test(value)) {
      throw usage(
        `${file}: ${key}: found «${value ?? ""}», wanted a name of LVM`,
        "or give localpath for image files",
      );
    }
  }
  return { kind: "lvm", vg: vg ?? "", pool: pool ?? "" };
}

function archiveFrom(
  name: string,
  section: string,
  own: ReadonlyMap<Key, string>,
  main: ReadonlyMap<Key, string>,
  file: string,
): ArchiveSettings {
  const need = (key: Key): string => {
    const value = own.get(key);
    if (value === undefined || value === "") throw usage(`${file}: [${section}] has no ${key}`);
    return value;
  };
  const path = (value: string): boolean =>
    value.split("/").every((part) => part !== "" && part !== "." && part !== "..");
  const destvm = need("destvm");
  const destination = destinationOf(destvm);
  if (destination.kind === "wrong")
    throw usage(`${file}: [${section}]: destvm: found «${destvm}», wanted ${destination.wanted}`);
  const mountpoint = need("destmountpoint").replace(/\/+$/, "");
  if (!mountpoint.startsWith("/") || !path(mountpoint.slice(1))) {
    throw usage(`${file}: destmountpoint: found «${mountpoint}», wanted an absolute path without . and ..`);
  }
  const directory = (own.get("destdir") ?? "").replace(/\/+$/, "").replace(/^\.$/, "");
  if (directory !== "" && !path(directory)) {
    throw usage(`${file}: destdir: found «${directory}», wanted a relative path without . and ..`);
  }
  const encryption = own.get("encryption") ?? main.get("encryption");
  if (encryption !== undefined && encryption !== "off" && encryption !== "on") {
    throw usage(`${file}: encryption: found «${encryption}», wanted on or off`);
  }
  const wanted = { file, main: new Map([...main, ...own]) };
  const chunkSize = size(wanted, "chunk-size", defaultChunkSize);
  const level = number(wanted, "compression-level", 3, 1, 19);
  const keeps = retentionFrom(own, file) ?? retentionFrom(main, file);
  const pruneAfterSend = yesNo(wanted, "prune-after-send", false);
  if (pruneAfterSend && (keeps === undefined || !hasLimit(keeps)))
    throw usage(
      `${file}: [${section}]: prune-after-send, and nothing says what to keep`,
      "add keep-last = …",
    );
  return {
    name,
    destvm,
    mountpoint,
    directory,
    encryption,
    chunkSize,
    level,
    retention: keeps,
    pruneAfterSend,
  };
}

function volumesFrom(
  values: Readonly<Record<string, unknown>> | undefined,
  file: string,
): ReadonlyMap<string, boolean> {
  const volumes = new Map<string, boolean>();
  for (const [name, value] of Object.entries(values ?? {})) {
    if (!isVolumeName(name)) throw usage(`${file}: [volumes]: «${name}» can't be the name of a volume`);
    if (value !== "enable" && value !== "disable") {
      throw usage(`${file}: [volumes]: ${name}: found «${String(value)}», wanted enable or disable`);
    }
    volumes.set(name, value === "enable");
  }
  return volumes;
}

/** The lines of [groups] behind the groups that there are without it; a line of the same name takes the place of one
 *  of those, an empty one removes it. */
function groupsFrom(
  values: Readonly<Record<string, unknown>> | undefined,
  file: string,
): readonly GroupSettings[] {
  const groups = new Map(defaultGroups.map((each) => [each.name, each.globs]));
  for (const [name, value] of Object.entries(values ?? {})) {
    const globs = typeof value === "string" ? value.split(/\s+/).filter(Boolean) : undefined;
    if (!isLabel(name) || globs === undefined) {
      throw usage(
        `${file}: [groups]: found «${name} = ${String(value)}», wanted a name of letters, digits, _ and -, and patterns of volumes' names`,
      );
    }
    groups.set(name, globs);
  }
  return [...groups].flatMap(([name, globs]) => (globs.length === 0 ? [] : [{ name, globs }]));
}

/** A name that the settings give to something. */
function isLabel(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$/.test(name);
}

interface Wanted {
  readonly file: string;
  readonly main: ReadonlyMap<Key, string>;
}

function number({ file, main }: Wanted, key: Key, fallback: number, min: number, max: number): number {
  const text = main.get(key);
  if (text === undefined) return fallback;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max))
    throw usage(`${file}: ${key}: found «${text}», wanted ${min} to ${max}`);
  return value;
}

function percent(wanted: Wanted, key: Key, fallback: number): number {
  return number(wanted, key, fallback, 1, 100);
}

function yesNo({ file, main }: Wanted, key: Key, fallback: boolean): boolean {
  const text = main.get(key);
  if (text === undefined) return fallback;
  if (text !== "yes" && text !== "no" && text !== "true" && text !== "false") {
    throw usage(`${file}: ${key}: found «${text}», wanted yes or no`);
  }
  return text === "yes" || text === "true";
}

function size({ file, main }: Wanted, key: Key, fallback: number): number {
  const text = main.get(key);
  if (text === undefined) return fallback;
  const match = /^(\d+)\s*(K|KiB|M|MiB)?$/.exec(text);
  const unit = match?.[2]?.startsWith("K") === true ? 1024 : match?.[2] === undefined ? 1 : 1024 * 1024;
  const bytes = match === null ? Number.NaN : Number(match[1]) * unit;
  if (!isChunkSize(bytes))
    throw usage(`${file}: ${key}: found «${text}», wanted a power of two from 64K to 4M`);
  return bytes;
}

function usage(message: string, hint?: string): AgentError {
  return new AgentError("usage", message, hint);
}
