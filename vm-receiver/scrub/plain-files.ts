// The archive's files that have no digest above them: README.txt and the record of the trash time carry their own, and
// `lock` is empty.

import { fileNames } from "../../protocol/archive/names.ts";
import type { Directory } from "../directory.ts";
import { isDamage, RefusalError } from "../errors.ts";
import { readWhole, statOf } from "../files.ts";
import { isReadme, readmeText } from "../store/readme.ts";
import { recordedTrashDays } from "../store/trash-time.ts";

const maxReadmeBytes = 64 * 1024;

/** `leftover`: the text of another version of this program. */
export function stateOfReadme(root: Directory): "whole" | "missing" | "corrupt" | "leftover" {
  return orCorrupt(() => {
    const bytes = readWhole(root, fileNames.readme, maxReadmeBytes);
    if (bytes === undefined) return "missing";
    const text = Buffer.from(bytes).toString("latin1");
    if (text === readmeText) return "whole";
    return isReadme(text) ? "leftover" : "corrupt";
  });
}

/** Where it is not there the next writer makes it. */
export function stateOfLock(root: Directory): "whole" | "corrupt" {
  const stat = statOf(root, fileNames.lock);
  return stat === undefined || (stat.isFile() && stat.size === 0) ? "whole" : "corrupt";
}

export function stateOfTrashRecord(root: Directory): "whole" | "corrupt" {
  return orCorrupt(() => {
    recordedTrashDays(root);
    return "whole";
  });
}

function orCorrupt<T>(read: () => T): T | "corrupt" {
  try {
    return read();
  } catch (error) {
    if (error instanceof RefusalError || isDamage(error)) return "corrupt";
    throw error;
  }
}
