// Which volumes a command works on: those named on the command line, by name or pattern, all (-a), or those that the
// settings enable.

import { isVolumeName } from "../../protocol/archive/names.ts";
import { nearest } from "../config/nearest.ts";
import { allArchives, type Settings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import type { Selection } from "../archive/archive-view.ts";
import { isPattern, matchNames } from "../archive/match-names.ts";

/** Names in the order of the command line or the file. Throws AgentError `usage` when there are none. */
export async function chooseVolumes(
  settings: Settings,
  storage: Storage,
  named: readonly string[],
  all: boolean,
): Promise<readonly string[]> {
  for (const name of named) {
    if (!isVolumeName(name)) throw new AgentError("usage", `«${name}» can't be the name of a volume`);
  }
  if (named.some(isPattern)) return matched(settings, storage, named);
  if (named.length > 0) return [...new Set(named)];
  const enabled = [...settings.volumes].filter(([, on]) => on).map(([name]) => name);
  if (all) {
    const there = (await storage.survey([], { all: true })).volumes.keys();
    const chosen = [...new Set([...there, ...enabled])].sort();
    if (chosen.length > 0) return chosen;
    throw new AgentError("usage", "--all: found no volume that could be backed up");
  }
  if (enabled.length > 0) return enabled;
  const hint =
    settings.volumes.size === 0
      ? "add [volumes] with lines like «vm-work-private = enable»"
      : "set one to enable";
  throw new AgentError("usage", `${settings.file}: no volumes are enabled`, hint);
}

/** The archives that a send goes to: all of them with --dest all. */
export function chooseArchives(settings: Settings, dest: string | undefined): Settings["archives"] {
  return dest === allArchives && settings.archives.length > 0
    ? settings.archives
    : [chooseArchive(settings, dest)];
}

/** What the patterns among `named` stand for: volumes of the storage or of the settings. */
async function matched(
  settings: Settings,
  storage: Storage,
  named: readonly string[],
): Promise<readonly string[]> {
  const there = (await storage.survey([], { all: true })).volumes.keys();
  const known = [...new Set([...settings.volumes.keys(), ...there])].sort();
  const { found, unmatched } = matchNames(named, known);
  const nothing = unmatched.find(isPattern);
  if (nothing !== undefined) throw new AgentError("usage", `«${nothing}» fits no volume`);
  // A plain name that is unknown is told about by whoever looks for the volume.
  return [...new Set([...found, ...unmatched])];
}

/** The archive that --dest names, or the only or default one. */
export function chooseArchive(settings: Settings, dest: string | undefined): Settings["archives"][number] {
  const wanted = dest ?? "default";
  const found = settings.archives.find((each) => each.name === wanted);
  if (found !== undefined) return found;
  const [only] = settings.archives;
  if (dest === undefined && only !== undefined && settings.archives.length === 1) return only;
  const names = settings.archives.map((each) => each.name);
  if (names.length === 0)
    throw new AgentError(
      "usage",
      `${settings.file}: no destination`,
      "add destvm, destmountpoint and destdir to [var]",
    );
  if (dest === allArchives)
    throw new AgentError(
      "usage",
      `--dest ${dest}: only send goes to all destinations`,
      `name one of ${names.join(", ")}`,
    );
  const meant = nearest(wanted, names);
  throw new AgentError(
    "usage",
    `no destination «${wanted}» in ${settings.file}`,
    `known: ${names.join(", ")}${meant ? `; is it ${meant}?` : ""}`,
  );
}

/** The selection that a command line makes. */
export function selectionOf(
  settings: Pick<Settings, "volumes">,
  patterns: readonly string[],
  all: boolean,
): Selection {
  if (patterns.length > 0) return { kind: "named", patterns };
  if (all) return { kind: "all" };
  return { kind: "enabled", names: [...settings.volumes].filter(([, on]) => on).map(([name]) => name) };
}
