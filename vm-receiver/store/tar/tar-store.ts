// A session as one tar: for file systems that are slow with many files, or have too few inodes for them.

import {
  besideTar,
  chunkPath,
  fileNames,
  isBesideTar,
  listFile,
  manifestFile,
} from "../../../protocol/archive/names.ts";
import type { ChunkAddress, SessionName } from "../../../protocol/archive/types.ts";
import { isNowhere } from "../../../protocol/archive/tar-layout.ts";
import { namesIn } from "../../directory.ts";
import { openFile, removeFile, statOf } from "../../files.ts";
import { storageOf } from "../remove.ts";
import { createPart } from "../part.ts";
import type { Store } from "../store.ts";
import { headerTemplate, memberHeader, timeOf } from "./member-header.ts";
import { punchChunks } from "./punch.ts";
import { salvageTar } from "./salvage-tar.ts";
import { tarChunks } from "./tar-chunks.ts";
import { readTarFooter, tarIdentity } from "./tar-reader.ts";
import { tarWriter } from "./tar-writer.ts";

const finishedName = (name: SessionName): string => name + fileNames.tarSuffix;
const partName = (name: SessionName): string => finishedName(name) + fileNames.partSuffix;

export const tarStore: Store = {
  form: "tar",
  finishedName,
  partName,
  begin: async (volume, session) => {
    const look = { time: timeOf(session.name) };
    const first = chunkPath(0 as ChunkAddress);
    const firstName = `${session.name}/${first.group}/${first.file}`;
    const template = headerTemplate(await memberHeader(firstName, 1, look), firstName);
    const part = await createPart(volume, partName(session.name), { ...session, form: "tar" });
    const names = { partName: partName(session.name), finishedName: finishedName(session.name) };
    return tarWriter({ volume, part, ...names, session, look, template });
  },
  open: (volume, name, file) => {
    // What a prune wrote lies beside the tar.
    if (file.kind === "list" && file.generation !== 0)
      return openFile(volume, besideTar(name, listFile(file.generation)));
    const tar = readTarFooter(volume, finishedName(name));
    if (tar === undefined) return undefined;
    const place = tar.footer[file.kind];
    if (file.kind === "manifest" && tar.footer.manifestGeneration !== file.generation) {
      tar.file[Symbol.dispose]();
      return openFile(volume, besideTar(name, manifestFile(file.generation)));
    }
    if (!isNowhere(place)) return { ...tar.file, ...place };
    tar.file[Symbol.dispose]();
    return undefined;
  },
  chunks: (volume, name) => {
    const tar = readTarFooter(volume, finishedName(name));
    return tar && tarChunks(tar);
  },
  salvage: async (volume, leftover) => {
    const { name } = leftover;
    const names = { partName: partName(name), finishedName: finishedName(name) };
    return salvageTar(volume, names, leftover, { time: timeOf(name) });
  },
  identityOf: (volume, name) => tarIdentity(volume, finishedName(name)),
  removeChunks: async (volume, name, addresses, { punch, onRemoved }) => {
    // Elsewhere they stay until all of the tar is dead.
    if (punch) await punchChunks(volume, name, addresses, onRemoved);
  },
  remove: async (volume, name, onRemoved) => {
    const beside = Array.from(namesIn(volume)).filter((each) => isBesideTar(name, each));
    for (const each of [...beside, finishedName(name)]) {
      const bytes = storageOf(statOf(volume, each));
      removeFile(volume, each);
      onRemoved?.(bytes);
    }
  },
};
