// The image as a stream: every byte of it in order, holes as zeros. A pipe or socket is written to without blocking,
// so that a slow reader stops neither the workers nor a signal; anything else like a file.

import { fstatSync, write } from "node:fs";
import { Socket } from "node:net";
import { isatty } from "node:tty";
import { promisify } from "node:util";
import { AssembleError, systemCode } from "./errors.ts";

export interface OutputStream {
  /** Resolves once the bytes are handed over and may be overwritten. Throws AssembleError `closed-output`, … */
  write(bytes: Uint8Array): Promise<void>;
  /** Gives up: a write under way is rejected. The descriptor stays open where it is not a pipe. */
  destroy(): void;
}

/** Throws AssembleError `bad-output` where `fd` is a terminal. */
export function openOutputStream(fd: number): OutputStream {
  if (isatty(fd)) {
    throw new AssembleError(
      "bad-output",
      "standard output is a terminal, wanted a pipe or a file",
      "pipe it into another program, or name a file with -o",
    );
  }
  const stat = fstatSync(fd);
  return stat.isFIFO() || stat.isSocket() ? pipeStream(fd) : fileStream(fd);
}

function pipeStream(fd: number): OutputStream {
  const socket = new Socket({ fd, readable: false, writable: true });
  // Each write has its own callback; this one only keeps the event from ending the program.
  socket.on("error", () => undefined);
  return {
    write: (bytes) =>
      new Promise((resolve, reject) => {
        socket.write(bytes, (error) => (error ? reject(streamError(error)) : resolve()));
      }),
    destroy: () => void socket.destroy(),
  };
}

const writeLater = promisify(write);

function fileStream(fd: number): OutputStream {
  let destroyed = false;
  return {
    write: async (bytes) => {
      for (let done = 0; done < bytes.length;) {
        if (destroyed) throw new AssembleError("stopped", "write to standard output: stopped");
        try {
          done += (await writeLater(fd, bytes, done, bytes.length - done, null)).bytesWritten;
        } catch (error) {
          throw streamError(error);
        }
      }
    },
    destroy: () => {
      destroyed = true;
    },
  };
}

function streamError(error: unknown): unknown {
  const code = systemCode(error);
  const options = { cause: error };
  switch (code) {
    case "EPIPE":
    case "ECONNRESET":
      return new AssembleError(
        "closed-output",
        "whoever reads the image has closed the pipe",
        undefined,
        options,
      );
    case "ENOSPC":
    case "EDQUOT":
      return new AssembleError(
        "no-space",
        `no space left for the image (${code}), standard output`,
        undefined,
        options,
      );
    default:
      return new AssembleError(
        "io",
        `image can't be written: ${code ?? String(error)}, standard output`,
        undefined,
        options,
      );
  }
}
