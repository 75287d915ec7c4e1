// A list or manifest that is superseded and waits to be removed: by the digest that an older index names, or, where that is
// gone, by its own.

import type { Container } from "../../protocol/archive/index-file.ts";
import { fileNames, parseGeneration } from "../../protocol/archive/names.ts";
import { decodePrefix, expectPrefix, prefixBytes } from "../../protocol/archive/prefix.ts";
import { type Digest, digestBytes, type Generation, type VolumeId } from "../../protocol/archive/types.ts";
import type { Directory } from "../directory.ts";
import { isDamage } from "../errors.ts";
import { openFile, readStretch } from "../files.ts";
import { stateOfFile } from "../store/whole-file.ts";
import type { History } from "./history.ts";

export interface OldFile {
  readonly kind: "list" | "manifest";
  readonly generation: Generation;
}

/** `list`, `list.N`, `manifest.N`; undefined for every other name. */
export function parseOldFile(name: string): OldFile | undefined {
  if (name === fileNames.list) return { kind: "list", generation: 0 as Generation };
  const [, kind, number = ""] = /^(list|manifest)[.](\d+)$/.exec(name) ?? [];
  const generation = parseGeneration(number);
  return generation === undefined ? undefined : { kind: kind as OldFile["kind"], generation };
}

export interface OldFileOptions {
  readonly volume: VolumeId;
  readonly container: Pick<Container, "uid">;
  readonly history: () => Promise<History>;
  readonly onBytes: (bytes: number) => void;
}

/** The state of `name` in `directory`; `whole` also where it has gone meanwhile. */
export async function stateOfOld(
  { volume, container, history, onBytes }: OldFileOptions,
  directory: Directory,
  name: string,
  { kind, generation }: OldFile,
): Promise<"whole" | "damaged"> {
  const named = (await history()).fileDigest(volume, container.uid, kind, generation);
  try {
    using file = openFile(directory, name);
    if (file === undefined) return "whole";
    const prefix = decodePrefix(readStretch(file, 0, prefixBytes));
    // The first list is of the generation of its header, which nobody here knows.
    expectPrefix(prefix, { kind, volume, ...(generation === 0 ? {} : { generation }) });
    const digest = named ?? (readStretch(file, file.length - digestBytes, digestBytes) as Digest);
    return (await stateOfFile(file, digest, onBytes)) === "whole" ? "whole" : "damaged";
  } catch (error) {
    if (isDamage(error)) return "damaged";
    throw error;
  }
}
