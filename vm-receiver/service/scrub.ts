// scrub: a container is checked against the index, or all that is in none of the newest head; what is wrong is said as it is
// found (vm-receiver/scrub/).

import type { Damage, Scrub } from "../../protocol/wire/messages.ts";
import { RefusalError } from "../errors.ts";
import { scrubContainer } from "../scrub/container.ts";
import { historyOf } from "../scrub/history.ts";
import { scrubRest } from "../scrub/rest.ts";
import { type Archive, findContainer } from "../store/archive.ts";

/** Most `damage` frames of an answer; the last says that there was more. */
const maxDamages = 65_536;

export interface ScrubWatch {
  readonly onDamage: (damage: Damage) => void;
  readonly onBytes: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** Checks the container. RefusalError `missing` where there is none, `corrupt` where the index can't be read. */
export async function scrub(archive: Archive | undefined, asked: Scrub, watch: ScrubWatch): Promise<void> {
  const ofRest = [...asked.volume, ...asked.session].every((byte) => byte === 0);
  using found = archive && !ofRest ? findContainer(archive, asked) : undefined;
  const head = archive?.current?.head;
  if (archive === undefined || head === undefined || (found === undefined && !ofRest))
    throw new RefusalError("missing", "there is no such container");
  const chunkSize = archive.header()?.header.chunkSize;
  if (chunkSize === undefined) throw new RefusalError("corrupt", "the archive header is missing");
  let count = 0;
  const onDamage = (damage: Damage): void => {
    count++;
    if (count < maxDamages) watch.onDamage(damage);
    else if (count === maxDamages) watch.onDamage({ ...damage, file: "other", what: "corrupt", number: 0 });
  };
  const { onBytes, signal } = watch;
  if (found === undefined) {
    const onFound = ({ where: _, ...damage }: Damage & { readonly where: string }): void => onDamage(damage);
    return scrubRest({ archive, head, chunkSize, onFound, onBytes, signal });
  }
  const { directory, container } = found;
  await scrubContainer({
    directory,
    volume: asked.volume,
    container,
    generation: head.generation,
    chunkSize,
    trash: archive.trash(),
    history: async () => historyOf(archive, onBytes),
    onDamage: (file, what, number = 0) => onDamage({ file, what, ...asked, number }),
    onBytes,
    signal,
  });
}
