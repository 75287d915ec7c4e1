// The file that is being put, part by part. One that was refused is let pass to its end before the refusal is said: its
// parts are on their way already, and after the refusal they would break the order.

import { FormatError } from "../../protocol/errors.ts";
import type { Put } from "../../protocol/wire/messages.ts";
import { type FileUpload, largestPut } from "./put-file.ts";
import type { Upload } from "./upload.ts";

type Incoming =
  | { readonly kind: "file"; readonly file: FileUpload }
  | { readonly kind: "session file"; readonly upload: Upload }
  | { readonly kind: "refused"; readonly error: unknown; left: number };

export interface IncomingListener {
  /** So many more bytes have come. */
  readonly onPart: (bytes: number) => void;
  /** All parts of a file that was refused have come. */
  readonly onRefused: (error: unknown) => void;
  /** All parts of a file have come; it is the listener's to check, and to dispose of. */
  readonly onFile: (file: FileUpload) => void;
  readonly onSessionFile: (upload: Upload) => void;
}

export interface IncomingFiles extends Disposable {
  /** Begins a file outside of a session. What `open` refuses is said when all parts have come; FormatErrors are thrown,
   *  and so is a refusal of something that is larger than anything that could be put. */
  begin(announced: Put, open: () => FileUpload): void;
  /** Begins a file of a session, in which nothing can be refused. */
  beginInSession(upload: Upload): void;
  /** The next part of the file that was begun. Throws FormatError. */
  take(untrusted: Uint8Array): void;
}

const maxRefusedBytes = largestPut;

/** Takes files that are put, one after another. */
export function incomingFiles(listener: IncomingListener): IncomingFiles {
  let current: Incoming | undefined;

  const refuse = (error: unknown, left: number): void => {
    if (error instanceof FormatError || left > maxRefusedBytes) throw error;
    current = { kind: "refused", error, left };
    if (left === 0) complete(current);
  };
  const complete = (incoming: Incoming): void => {
    current = undefined;
    if (incoming.kind === "file") listener.onFile(incoming.file);
    else if (incoming.kind === "session file") listener.onSessionFile(incoming.upload);
    else listener.onRefused(incoming.error);
  };

  return {
    begin: (announced, open) => {
      try {
        current = { kind: "file", file: open() };
      } catch (error) {
        refuse(error, announced.length);
      }
    },
    beginInSession: (upload) => {
      current = { kind: "session file", upload };
    },
    take: (untrusted) => {
      const incoming = current;
      if (incoming === undefined) throw new FormatError("bad-order", "a part of a file that is complete");
      if (incoming.kind === "refused") {
        if (untrusted.length > incoming.left) {
          throw new FormatError("too-long", "more of a file than was announced");
        }
        incoming.left -= untrusted.length;
        if (incoming.left === 0) complete(incoming);
        return;
      }
      const upload = incoming.kind === "file" ? incoming.file.upload : incoming.upload;
      const { left } = upload;
      try {
        upload.take(untrusted);
      } catch (error) {
        if (incoming.kind !== "file") throw error;
        current = undefined;
        incoming.file[Symbol.dispose]();
        refuse(error, left - untrusted.length);
        return;
      }
      listener.onPart(untrusted.length);
      if (upload.complete) complete(incoming);
    },
    [Symbol.dispose]: () => {
      if (current?.kind === "file") current.file[Symbol.dispose]();
      current = undefined;
    },
  };
}
