// Sessions that no head names: cut short, or finished without their commit. They can be listed and removed; what a head
// names never is.

import { isDirectoryName } from "../../protocol/archive/names.ts";
import type { ListIdentity } from "../../protocol/archive/list-file.ts";
import type { SessionUid } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { type Directory, namesIn, openDirectory, openIfThere } from "../directory.ts";
import { unless, unlessDamaged } from "../errors.ts";
import { statOf } from "../files.ts";
import { type Archive, knownContainers } from "./archive.ts";
import { partIdentity } from "./part.ts";
import { removeTree } from "./remove.ts";
import type { OnRemoved } from "./store.ts";
import { type SessionEntry, sessionEntry, stores } from "./stores.ts";

/** An uncommitted session. Without an identity it is one that does not say whose it is: its record is damaged. */
export interface Leftover extends SessionEntry {
  readonly directory: string;
  readonly identity: ListIdentity | undefined;
}

/** Every leftover, volume by volume. */
export function* allLeftovers(archive: Archive): Generator<Leftover, void, void> {
  for (const name of namesIn(archive.root)) {
    if (!isDirectoryName(name) || statOf(archive.root, name)?.isDirectory() !== true) continue;
    // What we may not open (lost+found of a root's file system) can't be a volume of ours.
    using volume = unless(["EACCES", "EPERM", "ENOENT"], () => openDirectory(archive.root, name));
    if (volume !== undefined) yield* leftoversIn(archive, volume, name);
  }
}

/** The leftovers in one volume's directory. */
export function* leftoversIn(
  archive: Archive,
  volume: Directory,
  directory: string,
): Generator<Leftover, void, void> {
  const entries = [...namesIn(volume)].flatMap((name) => sessionEntry(name) ?? []);
  const inHead = entries.some((each) => each.finished) ? archive.volumeIn(directory) : undefined;
  const committed = inHead === undefined ? [] : knownContainers(archive, inHead);
  for (const entry of entries) {
    if (!entry.finished) {
      yield {
        ...entry,
        directory,
        identity: identityOfPart(volume, stores[entry.form].partName(entry.name)),
      };
      continue;
    }
    // Without its index nobody can tell what of a volume was committed.
    if (committed === undefined) continue;
    if (committed.some((each) => each.name === entry.name && each.form === entry.form)) continue;
    const identity = stores[entry.form].identityOf(volume, entry.name);
    // A finished session that is in the index under another name, or says nothing of itself, is nobody's leftover.
    if (identity === undefined || committed.some((each) => equalBytes(each.uid, identity.session))) continue;
    // Nor is one that was pruned and is kept for its time (archive-format.md, F35): a sender can't touch that.
    if (archive.trash().keeps(identity)) continue;
    yield { ...entry, directory, identity };
  }
}

function identityOfPart(volume: Directory, name: string): ListIdentity | undefined {
  return unlessDamaged(() => {
    using part = openIfThere(volume, name);
    return part && partIdentity(part);
  });
}

/**
 * Removes the leftovers of a session from a volume's directory; `undefined` stands for those that don't say whose they
 * are. Gives how many there were. RefusalError `not-allowed` when one holds what is not of a session.
 */
export async function discardSession(
  archive: Archive,
  directory: string,
  session: SessionUid | undefined,
  onRemoved: OnRemoved,
): Promise<number> {
  using volume = openIfThere(archive.root, directory);
  if (volume === undefined) return 0;
  const found = [...leftoversIn(archive, volume, directory)].filter(({ identity }) =>
    session === undefined ? identity === undefined : identity && equalBytes(identity.session, session),
  );
  for (const each of found) await removeLeftover(volume, each, onRemoved);
  return found.length;
}

/** Removes one leftover. */
export async function removeLeftover(
  volume: Directory,
  { form, name, finished }: Leftover,
  onRemoved?: OnRemoved,
): Promise<void> {
  if (finished) await stores[form].remove(volume, name, onRemoved);
  else await removeTree(volume, stores[form].partName(name), onRemoved);
}
