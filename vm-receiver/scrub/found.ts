// What a scrub says, of containers and of everything else.

import type { Container } from "../../protocol/archive/index-file.ts";
import { noVolume } from "../../protocol/archive/prefix.ts";
import type { SessionUid, VolumeId } from "../../protocol/archive/types.ts";
import type { Damage, DamagedFile, DamageKind } from "../../protocol/wire/messages.ts";
import { temporaries, unbornPart } from "../store/temporaries.ts";

/** One thing: as it goes to the agent, and where it lies below the archive, which only the VM prints. */
export interface Found extends Damage {
  readonly where: string;
}

export type OnFound = (found: Found) => void;

/** Says one thing of a file, by its path below the archive. */
export type Say = (
  where: string,
  file: DamagedFile,
  what: DamageKind,
  of?: {
    readonly number?: number;
    readonly volume?: VolumeId | undefined;
    readonly session?: SessionUid | undefined;
  },
) => void;

export const noSession: SessionUid = new Uint8Array(16) as SessionUid;

const temporaryNames: ReadonlySet<string> = new Set([...Object.values(temporaries), unbornPart]);

/** True for a name under which files lie before they have their own. */
export function isTemporary(name: string): boolean {
  return temporaryNames.has(name);
}

/** Says things of an archive to `onFound`. */
export function sayTo(onFound: OnFound): Say {
  return (where, file, what, { number = 0, volume = noVolume, session = noSession } = {}) =>
    onFound({ where, file, what, volume, session, number });
}

/** The name of a container's directory or tar. */
export function containerName({ name, form }: Pick<Container, "name" | "form">): string {
  return form === "tar" ? `${name}.tar` : name;
}
