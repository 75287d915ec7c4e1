// What spbk-assemble --scrub finds in an archive, in this process: for tests that look after every kill.

import { isDamage } from "../../protocol/wire/messages.ts";
import { foundLine, scrubArchive } from "../../vm-receiver/assemble/scrub-archive.ts";

export interface Scrubbed {
  readonly damage: readonly string[];
  /** What is only said. */
  readonly remarks: readonly string[];
}

/** Scrubs the archive at `path`, which has a head that can be read. */
export async function scrubbed(path: string): Promise<Scrubbed> {
  const damage: string[] = [];
  const remarks: string[] = [];
  await scrubArchive({
    path,
    onFound: (found) => void (isDamage(found) ? damage : remarks).push(foundLine(found)),
    onUncopied: () => undefined,
    onProgress: () => undefined,
    signal: new AbortController().signal,
  });
  return { damage, remarks };
}
