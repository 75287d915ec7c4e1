// A session as a directory of chunk files, in groups by address: nothing but a file system is needed to read it.

import { fileNames, listFile, manifestFile } from "../../../protocol/archive/names.ts";
import type { SessionName } from "../../../protocol/archive/types.ts";
import { unlessDamaged } from "../../errors.ts";
import { openIfThere } from "../../directory.ts";
import { openFile, statOf } from "../../files.ts";
import { createPart, listIdentity } from "../part.ts";
import { renameNew } from "../publish.ts";
import { removeTree } from "../remove.ts";
import type { SessionFile, Store } from "../store.ts";
import { removeChunkFiles } from "./remove-chunk-files.ts";
import { chunkFiles } from "./chunk-files.ts";
import { salvageDirectory } from "./salvage-directory.ts";
import { directoryWriter } from "./directory-writer.ts";

const partName = (name: SessionName): string => name + fileNames.partSuffix;

export const directoryStore: Store = {
  form: "dir",
  finishedName: (name) => name,
  partName,
  begin: async (volume, session) => {
    const part = await createPart(volume, partName(session.name), { ...session, form: "dir" });
    return directoryWriter(volume, part, partName(session.name), session.name);
  },
  open: (volume, name, file) => {
    using directory = openIfThere(volume, name);
    return directory && openFile(directory, nameOf(file));
  },
  chunks: (volume, name) => {
    const directory = openIfThere(volume, name);
    return directory && chunkFiles(directory);
  },
  salvage: async (volume, leftover) => {
    const { name } = leftover;
    // A finished one goes back to the name of something unfinished first.
    if (statOf(volume, name) !== undefined) renameNew(volume, name, volume, partName(name));
    return salvageDirectory(volume, partName(name), leftover);
  },
  identityOf: (volume, name) =>
    unlessDamaged(() => {
      using directory = openIfThere(volume, name);
      return directory && listIdentity(directory);
    }),
  removeChunks: async (volume, name, addresses, { onRemoved }) => {
    using session = openIfThere(volume, name);
    if (session !== undefined) await removeChunkFiles(session, addresses, onRemoved);
  },
  remove: async (volume, name, onRemoved) => {
    if (statOf(volume, name) === undefined) return;
    // First back to the name of something unfinished, so that a crash does not leave half of a finished session.
    if (statOf(volume, partName(name)) === undefined) renameNew(volume, name, volume, partName(name));
    await removeTree(volume, partName(name), onRemoved);
  },
};

function nameOf(file: SessionFile): string {
  if (file.kind === "header") return fileNames.header;
  return file.kind === "manifest" ? manifestFile(file.generation) : listFile(file.generation);
}
