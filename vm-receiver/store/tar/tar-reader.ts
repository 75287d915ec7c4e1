// Finding files of a session in its tar, by the footer at its end (protocol/archive/tar-layout.ts).

import type { ListIdentity } from "../../../protocol/archive/list-file.ts";
import {
  decodeOffsetsFooter,
  decodeOffsetsHead,
  footerBytes,
  footerOffset,
  offsetsHeadBytes,
  type OffsetsFooter,
} from "../../../protocol/archive/tar-layout.ts";
import type { Digest } from "../../../protocol/archive/types.ts";
import { unlessDamaged } from "../../errors.ts";
import type { Directory } from "../../directory.ts";
import { openFile, readStretch, type StoredFile } from "../../files.ts";

export interface OpenTar {
  /** The caller closes it. */
  readonly file: StoredFile;
  readonly footer: OffsetsFooter & { readonly digest: Digest };
}

/** Opens a finished tar and reads its footer; undefined where it is not there. Throws FormatError. */
export function readTarFooter(volume: Directory, name: string): OpenTar | undefined {
  const file = openFile(volume, name);
  if (file === undefined) return undefined;
  try {
    const footer = decodeOffsetsFooter(
      readStretch(file, footerOffset(file.length), footerBytes),
      file.length,
    );
    return { file, footer };
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

/** Whose session a tar holds; undefined where it is not there or does not say. */
export function tarIdentity(volume: Directory, name: string): ListIdentity | undefined {
  return unlessDamaged(() => {
    const tar = readTarFooter(volume, name);
    if (tar === undefined) return undefined;
    using file = tar.file;
    return decodeOffsetsHead(
      readStretch(file, tar.footer.recordsOffset - offsetsHeadBytes, offsetsHeadBytes),
    );
  });
}
