// scrub: a container is checked against the index, and what is wrong is said as it is found (vm-receiver/store/scrub.ts).

import type { Damage, Scrub } from "../../protocol/wire/messages.ts";
import { RefusalError } from "../errors.ts";
import { type Archive, findContainer } from "../store/archive.ts";
import { scrubContainer } from "../store/scrub.ts";

/** Most `damage` frames of an answer; the last says that there was more. */
const maxDamages = 65_536;

export interface ScrubWatch {
  readonly onDamage: (damage: Damage) => void;
  readonly onBytes: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** Checks the container. RefusalError `missing` where there is none, `corrupt` where the index can't be read. */
export async function scrub(archive: Archive | undefined, asked: Scrub, watch: ScrubWatch): Promise<void> {
  using found = archive && findContainer(archive, asked);
  const chunkSize = archive?.header()?.header.chunkSize;
  if (archive === undefined || found === undefined)
    throw new RefusalError("missing", "there is no such container");
  if (chunkSize === undefined) throw new RefusalError("corrupt", "the archive header is missing");
  let count = 0;
  const onDamage = (damage: Damage): void => {
    count++;
    if (count < maxDamages) watch.onDamage(damage);
    else if (count === maxDamages) watch.onDamage({ ...damage, file: "other", what: "corrupt" });
  };
  const { directory, container } = found;
  const trash = archive.trash();
  await scrubContainer({ ...watch, onDamage, directory, volume: asked.volume, container, chunkSize, trash });
}
