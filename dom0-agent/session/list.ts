// list: what an archive holds, by its verified head and indexes.

import { containerOf, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { readIndex, where } from "./archive.ts";
import type { Context } from "./context.ts";
import { openDestination } from "./destination.ts";

export interface ListedSession {
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly takenAt: number;
  /** Bytes of the volume, and of the chunks that the session stored. */
  readonly size: number;
  readonly storedBytes: number;
  readonly form: "dir" | "tar";
  readonly consistency: string;
  readonly tags: readonly string[];
}

export interface ListedVolume {
  readonly volume: string;
  readonly directory: string;
  readonly sessions: readonly ListedSession[];
}

/** The volumes of an archive with their sessions; `named` restricts them. Throws AgentError for one that isn't there. */
export async function list(
  context: Context,
  settings: ArchiveSettings,
  named: readonly string[],
): Promise<readonly ListedVolume[]> {
  const open = await openDestination(context, settings, "sparsebak.Receive", async () => false);
  if (open === undefined)
    throw new AgentError("failed", `list: there is no archive at ${where(settings)}`, "send makes one");
  await using _client = open.client;
  const found: ListedVolume[] = [];
  for (const entry of open.head.volumes) {
    const index = await readIndex(open, entry.volume);
    if (index === undefined || (named.length > 0 && !named.includes(index.name))) continue;
    found.push({
      volume: index.name,
      directory: entry.directory,
      sessions: index.sessions.map((each) => listed(index, each)),
    });
  }
  const missing = named.filter((name) => !found.some((each) => each.volume === name));
  if (missing.length > 0)
    throw new AgentError("failed", `list: the archive has no volume ${missing.join(", ")}`);
  await open.client.close();
  return found.sort((a, b) => (a.volume < b.volume ? -1 : 1));
}

function listed(index: VolumeIndex, session: VolumeIndex["sessions"][number]): ListedSession {
  const container = containerOf(index, session.uid);
  return {
    name: container?.name ?? "",
    takenAt: session.takenAt,
    size: session.size,
    storedBytes: container?.storedBytes ?? 0,
    form: container?.form ?? "dir",
    consistency: session.consistency,
    tags: session.tags,
  };
}
