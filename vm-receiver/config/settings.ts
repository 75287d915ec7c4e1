// receiver.ini: who may call and where may be written. Without it: dom0 only, and real mountpoints only. A file that is
// there but can't be understood allows nobody anything (design section 6).

import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync } from "node:fs";
import { parse } from "ini";
import { type Service, services } from "../../protocol/wire/messages.ts";
import { systemCode, unless } from "../errors.ts";
import { shown } from "../sanitize.ts";
import { maxTrashDays } from "../store/trash-time.ts";

export interface ReceiverSettings {
  /** Qubes that may call over qrexec. */
  readonly allowCallers: readonly string[];
  /** The only mountpoints allowed, or undefined: every real one. */
  readonly mountpoints: readonly string[] | undefined;
  /** Directories that serve as a mountpoint although nothing is mounted there. */
  readonly plainDirectories: readonly string[];
  readonly services: readonly Service[];
  /** Only where the qube has the Qubes service `sparsebak`. */
  readonly requireServiceFlag: boolean;
  /** Days for which what was pruned is kept; undefined: as the archive has it on record. */
  readonly trashDays: number | undefined;
}

/** The settings are not as they must be; the message names file, key and value. */
export class SettingsError extends Error {
  override readonly name: string = "SettingsError";
}

export const searchedFiles: readonly string[] = [
  "/rw/config/sparsebak/receiver.ini",
  "/etc/sparsebak/receiver.ini",
];

const serviceNames = Object.keys(services) as readonly Service[];
const maxFileBytes = 64 * 1024;

export const defaultSettings: ReceiverSettings = {
  allowCallers: ["dom0"],
  mountpoints: undefined,
  plainDirectories: [],
  services: serviceNames,
  requireServiceFlag: false,
  trashDays: undefined,
};

/** Reads the file that was named, or else the first of `searched` that exists, or else gives the defaults. Throws
 *  SettingsError. */
export function loadReceiverSettings(
  named: string | undefined,
  searched: readonly string[] = searchedFiles,
): ReceiverSettings {
  for (const file of named === undefined ? searched : [named]) {
    const content = readSettings(file, named !== undefined);
    if (content !== undefined) return parseReceiverSettings(content, file);
  }
  return defaultSettings;
}

/** The file's text, checked on the open file to be one that only root or this user could have written. */
function readSettings(file: string, mustExist: boolean): string | undefined {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = systemCode(error);
    // A link that leads nowhere is there, and says nothing.
    const isThere = unless(["ENOENT"], () => lstatSync(file)) !== undefined;
    if (code === "ENOENT" && !mustExist && !isThere) return undefined;
    throw new SettingsError(`${shown(file)}: can't be read: ${code ?? String(error)}`);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new SettingsError(`${shown(file)}: not a regular file`);
    if (stat.uid !== 0 && stat.uid !== process.getuid?.()) {
      throw new SettingsError(`${shown(file)}: belongs to user ${stat.uid}, wanted root or this user`);
    }
    if ((stat.mode & 0o022) !== 0)
      throw new SettingsError(`${shown(file)}: others than its owner may write to it, wanted chmod go-w`);
    if (stat.size > maxFileBytes)
      throw new SettingsError(`${shown(file)}: ${stat.size} bytes, at most ${maxFileBytes}`);
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}

const keys = [
  "allow-callers",
  "mountpoints",
  "plain-directories",
  "services",
  "require-service-flag",
  "trash-days",
] as const;
type Key = (typeof keys)[number];

/** The settings that `content` holds; `file` is for messages. Throws SettingsError. */
export function parseReceiverSettings(content: string, file: string): ReceiverSettings {
  const where = shown(file);
  const values = new Map<Key, string>();
  // The parser would cut the value there, and what is left of a path is the directory of another.
  const cut = /^[ \t]*[^;#\s][^=\n]*=[ \t]*(?![ \t"'])(?:\\.|[^\\\n;#])*(?<=\S)[;#].*$/m
    .exec(content)?.[0]
    .trim();
  if (cut !== undefined)
    throw new SettingsError(
      `${where}: «${shown(cut)}»: wanted a space before a comment, or \\ before ; and #`,
    );
  // Of a key that stands there twice this gives both values, not the last.
  const parsed = parse(content, { bracketedArray: false });
  for (const [section, body] of Object.entries<unknown>(parsed)) {
    if (typeof body !== "object" || body === null) {
      throw new SettingsError(`${where}: «${shown(section)}» stands outside of [receiver]`);
    }
    if (section !== "receiver")
      throw new SettingsError(`${where}: unknown section [${shown(section)}], wanted [receiver]`);
    for (const [key, value] of Object.entries(body)) {
      if (!isKey(key))
        throw new SettingsError(`${where}: unknown key «${shown(key)}», known are ${keys.join(", ")}`);
      if (typeof value === "object")
        throw new SettingsError(`${where}: ${key}: found several values, wanted one line`);
      values.set(key, String(value));
    }
  }
  const list = (key: Key, allowed: RegExp, wanted: string): readonly string[] | undefined => {
    const text = values.get(key);
    if (text === undefined) return undefined;
    const items = text.split(",").map((item) => item.trim());
    const wrong = items.find((item) => !allowed.test(item));
    if (wrong !== undefined)
      throw new SettingsError(`${where}: ${key}: found «${shown(wrong)}», wanted ${wanted}`);
    return items;
  };
  const path = /^(?!.*(?:^|\/)\.{1,2}(?:\/|$))(?:\/[^/]+)+$/su;
  const paths = "absolute paths without . and .., separated by commas";
  return {
    allowCallers: list(
      "allow-callers",
      /^[A-Za-z][A-Za-z0-9_.-]{0,31}$/,
      "names of qubes, separated by commas",
    ) ?? ["dom0"],
    mountpoints: list("mountpoints", path, paths),
    plainDirectories: list("plain-directories", path, paths) ?? [],
    services: servicesFrom(list("services", /^/, ""), where),
    requireServiceFlag: yesNo(values.get("require-service-flag"), where),
    trashDays: daysFrom(values.get("trash-days"), where),
  };
}

function isKey(key: string): key is Key {
  return (keys as readonly string[]).includes(key);
}

function servicesFrom(items: readonly string[] | undefined, where: string): readonly Service[] {
  if (items === undefined) return serviceNames;
  return items.map((item) => {
    const found = serviceNames.find((name) => name === item);
    if (found !== undefined) return found;
    throw new SettingsError(
      `${where}: services: found «${shown(item)}», wanted some of ${serviceNames.join(", ")}`,
    );
  });
}

function daysFrom(value: string | undefined, where: string): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,5}$/.test(value) && Number(value) <= maxTrashDays) return Number(value);
  throw new SettingsError(`${where}: trash-days: found «${shown(value)}», wanted 0 to ${maxTrashDays}`);
}

function yesNo(value: string | undefined, where: string): boolean {
  if (value === undefined || value === "no" || value === "false") return false;
  if (value === "yes" || value === "true") return true;
  throw new SettingsError(`${where}: require-service-flag: found «${shown(value)}», wanted yes or no`);
}
