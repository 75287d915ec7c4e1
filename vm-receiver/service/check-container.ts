// Before a head names a new session: its files are there under their final names, they are whole, and they have the
// digests that the index names. Read back from the file system, not remembered from when they came.

import type { Container } from "../../protocol/archive/index-file.ts";
import type { ArchiveUuid, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { Directory } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { corruptUnless } from "../store/archive.ts";
import { stores } from "../store/stores.ts";
import { stateOfFile } from "../store/whole-file.ts";
import type { NewFiles } from "./check-kept.ts";

/** Checks the new files of a container. RefusalError `missing` or `corrupt` where one is not there, or not whole. */
export async function checkContainer(
  volume: Directory,
  { container, files, isNew }: NewFiles,
  of: { readonly archive: ArchiveUuid; readonly volume: VolumeId },
): Promise<void> {
  const store = stores[container.form];
  // One that the head names already may have lost the file that says whose it is: a new list is what repairs that.
  if (isNew) checkIdentity(volume, container, of);
  for (const file of files) {
    const wanted = container[`${file}Digest`];
    using stored = corruptUnless(`the ${file} of a new session`, () => {
      if (file === "header") return store.open(volume, container.name, { kind: file });
      const generation = container[`${file}Generation`];
      return store.open(volume, container.name, { kind: file, generation });
    });
    if (stored === undefined) throw new RefusalError("missing", `a new session has no ${file}`);
    const state = await stateOfFile(stored, wanted);
    if (state === "damaged") throw new RefusalError("corrupt", `the ${file} of a new session is damaged`);
    if (state === "other") {
      throw new RefusalError("malformed", `the ${file} of a new session is not the one that the index names`);
    }
  }
}

function checkIdentity(
  volume: Directory,
  container: Container,
  of: { readonly archive: ArchiveUuid; readonly volume: VolumeId },
): void {
  const identity = stores[container.form].identityOf(volume, container.name);
  if (identity === undefined)
    throw new RefusalError("missing", "a session that the index names is not there, or not finished");
  const ours =
    equalBytes(identity.session, container.uid) &&
    equalBytes(identity.volume, of.volume) &&
    equalBytes(identity.archive, of.archive);
  if (!ours) throw new RefusalError("malformed", "the index names a session by another one's name");
}
