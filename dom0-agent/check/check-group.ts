// The volumes of one group, checked together, because each may refer to chunks that another has stored: every container
// by itself, then session by session what is lost with what is damaged.

import type { ContainerRef } from "../../protocol/archive/manifest.ts";
import { toHex } from "../../protocol/bytes.ts";
import { allSessions } from "../restore/find-session.ts";
import { verifyAllSessions } from "../restore/verify-all.ts";
import type { LostPlaces } from "../state/lost-places.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { type Damage, isDamaged, wholeDamage } from "../restore/damage-report.ts";
import type { ArchivedVolume, VolumeGroup } from "./archived-volume.ts";
import { mostLost } from "../state/lost-chunks.ts";
import { type ContainerHealth, examine } from "./container-health.ts";
import { listStore } from "./list-store.ts";

export interface CheckedVolume {
  readonly volume: ArchivedVolume;
  readonly containers: readonly ContainerHealth[];
  /** For each session, in order, what of it is lost. */
  readonly sessions: readonly Damage[];
  /** Chunks in its containers that are listed and that no session needs; undefined where that can't be said. */
  readonly unneeded: number | undefined;
}

export interface CheckGroupOptions {
  readonly open: OpenArchive;
  /** dom0 reads every chunk itself. */
  readonly readData: boolean;
  /** Chunks that an earlier check has found to be lost: dom0 reads them itself. */
  readonly suspected: LostPlaces;
  readonly onProgress: (volume: string, done: number, total: number) => void;
  readonly signal: AbortSignal;
}

/** Checks a group. Throws what the connection throws; damage is a result. */
export async function checkGroup(
  { open, readData, suspected, onProgress, signal }: CheckGroupOptions,
  { volumes }: VolumeGroup,
): Promise<readonly CheckedVolume[]> {
  using lists = listStore(open.paths.directory);
  const byRef = new Map<string, ContainerHealth>();
  for (const volume of volumes) {
    const { index } = volume;
    const total = index.containers.reduce((sum, each) => sum + each.storedBytes, 0);
    let done = 0;
    open.client.onProgress = (bytes) => onProgress(index.name, Math.min(total, done + bytes), total);
    for (const container of index.containers) {
      signal.throwIfAborted();
      const ref = { volume: index.volume, session: container.uid };
      const suspects = suspected.in(ref);
      const health = await examine(open, volume, container, lists, { readAll: readData, suspects });
      byRef.set(keyOf(ref), health);
      done += container.storedBytes;
    }
    open.client.onProgress = undefined;
  }
  const sessions: (readonly Damage[])[] = [];
  let noted = 0;
  for (const { index } of volumes) {
    const { found } = await verifyAllSessions(open, index, {
      judge: (container, entry) => byRef.get(keyOf(container))?.judge(entry) ?? "lost",
      onLost: (container, { storedAddress, id, length }) => {
        const content = noted++ < mostLost ? { id, length } : undefined;
        byRef.get(keyOf(container))?.addLost(storedAddress, content);
      },
      onProgress: (done, total) => {
        if (readData) onProgress(index.name, done, total);
      },
      signal,
    });
    sessions.push(found);
  }
  const complete = sessions.every((each) => each.every(({ whole }) => whole === undefined));
  // The lists are gone afterwards.
  for (const each of byRef.values()) each.claimed();
  return volumes.map((volume, i) => {
    const { index } = volume;
    const healthOf = (uid: Uint8Array): ContainerHealth | undefined =>
      byRef.get(toHex(index.volume) + toHex(uid));
    const containers = index.containers.flatMap((each) => healthOf(each.uid) ?? []);
    const records = allSessions(index);
    const unneeded = containers.reduce((sum, each) => sum + (each.list?.unmarked() ?? 0), 0);
    return {
      volume,
      containers,
      sessions: (sessions[i] ?? []).map((damage, at) => {
        const uid = records[at]?.record.uid;
        return withHeader(damage, uid && healthOf(uid));
      }),
      unneeded: complete ? unneeded : undefined,
    };
  });
}

/** Without its header a session can't be restored, whatever its chunks are. */
function withHeader(damage: Damage, health: ContainerHealth | undefined): Damage {
  const header = health?.files.find((each) => each.file === "header");
  if (header === undefined || isDamaged(damage)) return damage;
  return wholeDamage(damage.session, header.why ?? "its header is damaged");
}

function keyOf({ volume, session }: ContainerRef): string {
  return toHex(volume) + toHex(session);
}
