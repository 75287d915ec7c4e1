// Room on the drive. Sends leave some of it free: a prune of a drive that they have filled has to write the lists of what
// stays before it may remove anything.

import { RefusalError } from "./errors.ts";
import type { Space } from "./space.ts";
import type { Form } from "./store/store.ts";

/** What sends leave: so small a part of the file system, and no more than so many bytes and inodes. */
const part = 64;
const mostBytes = 1024 ** 3;
const mostInodes = 1024;
/** Bytes that are written without another look, at most: others may be writing there as well. */
const stride = 64 * 1024 * 1024;

export interface Room {
  /** Call before a chunk, or a part of a file, of that many bytes is written. RefusalError `no-space`, `no-inodes`. */
  take(bytes: number): void;
}

/** The room for one session. `space` is asked now and then: after half of what could be written when it was asked last. */
export function sessionRoom(form: Form, space: () => Space): Room {
  return roomAbove(1, form, space);
}

/** The room for what has to be beside chunks: directories, indexes, heads. They may take half of what sends leave, so that a
 *  session that just fits can be committed. */
export function fileRoom(space: () => Space): Room {
  return roomAbove(1 / 2, "dir", space);
}

function roomAbove(share: number, form: Form, space: () => Space): Room {
  let bytes = 0;
  let files = 0;
  return {
    take: (length) => {
      if (bytes < length || files < 1) {
        const left = leftOf(space(), form, share);
        bytes = Math.max(length, Math.min(stride, left.bytes / 2));
        files = Math.max(1, left.inodes / 2);
      }
      bytes -= length;
      files--;
    },
  };
}

/** What may be written still, so that this share of the reserve stays. RefusalError where that is nothing. */
function leftOf(
  { freeBytes, totalBytes, freeInodes, totalInodes }: Space,
  form: Form,
  share: number,
): { readonly bytes: number; readonly inodes: number } {
  const reserve = Math.floor(share * Math.min(mostBytes, totalBytes / part));
  const bytes = totalBytes === 0 ? Infinity : freeBytes - reserve;
  if (bytes <= 0) {
    throw new RefusalError(
      "no-space",
      `${freeBytes} bytes are free on the drive, wanted more than ${reserve}: a prune may need those`,
    );
  }
  // A tar needs a few whatever it holds.
  if (totalInodes === 0 || form === "tar") return { bytes, inodes: Infinity };
  const inodes = freeInodes - Math.floor(share * Math.min(mostInodes, totalInodes / part));
  if (inodes <= 0) {
    const wanted = freeInodes - inodes;
    throw new RefusalError(
      "no-inodes",
      `${freeInodes} inodes are free on the drive, wanted more than ${wanted}: a prune may need those`,
    );
  }
  return { bytes, inodes };
}
