// The containers of all volumes of a group, numbered. Volumes of a group may refer to each other's chunks and to no
// others (archive-format.md, F26), so these are all that a reference can lead to.

import { type Container, containerOf } from "../../protocol/archive/index-file.ts";
import type { ContainerRef } from "../../protocol/archive/manifest.ts";
import { toHex } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import type { ViewedVolume } from "../archive/archive-view.ts";

export interface GroupContainer {
  readonly volume: ViewedVolume;
  readonly container: Container;
}

export interface GroupContainers {
  readonly count: number;
  at(number: number): GroupContainer;
  /** False for what pruning or an interrupted send has left. */
  hasSession(number: number): boolean;
  /** Throws AgentError `integrity` for one that the archive does not have; `what` is the manifest that names it. */
  numberOf(ref: ContainerRef, what: string): number;
  refOf(number: number): ContainerRef;
}

export function groupContainers(volumes: readonly ViewedVolume[]): GroupContainers {
  const all = volumes.flatMap((volume) => {
    const sessions = new Set(volume.index.sessions.map((each) => toHex(each.uid)));
    return volume.index.containers.map((container) => ({
      volume,
      container,
      hasSession: sessions.has(toHex(container.uid)),
    }));
  });
  const keyOf = ({ volume, session }: ContainerRef): string => toHex(volume) + toHex(session);
  const at = (number: number): (typeof all)[number] => {
    const found = all[number];
    if (found === undefined) throw new RangeError(`container ${number} of ${all.length}`);
    return found;
  };
  const refOf = (number: number): ContainerRef => {
    const { volume, container } = at(number);
    return { volume: volume.index.volume, session: container.uid };
  };
  const numbers = new Map(all.map((_, number) => [keyOf(refOf(number)), number]));
  return {
    count: all.length,
    at,
    hasSession: (number) => at(number).hasSession,
    numberOf: (ref, what) => {
      const number = numbers.get(keyOf(ref));
      if (number === undefined)
        throw new AgentError(
          "integrity",
          `${what}: it refers to chunks of a session that no index of the group names`,
          "nothing was removed; sparsebak check says what is damaged",
        );
      return number;
    },
    refOf,
  };
}

/** A session's container: an index that was accepted has one for each session (F17). */
export function sessionContainer({ index }: ViewedVolume, uid: Container["uid"]): Container {
  const container = containerOf(index, uid);
  if (container === undefined) throw new RangeError(`${index.name}: a session without a container`);
  return container;
}
