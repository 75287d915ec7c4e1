// The two byte streams, on descriptors 0 and 1: pipes or sockets, which have no names to open. Reading uses one buffer
// for ever; writing says when the other side does not take what it is sent.

import { Socket } from "node:net";

const readBytes = 1024 * 1024;

export interface InputListener {
  /** The next bytes; the array is overwritten after the call. */
  readonly onBytes: (untrusted: Uint8Array) => void;
  /** The stream ended, or broke, which says the same. Called once. */
  readonly onEnd: () => void;
}

/** Reads a descriptor until its end. Throws when it is neither a pipe nor a socket. */
export function readFrom(fd: number, { onBytes, onEnd }: InputListener): void {
  const buffer = new Uint8Array(readBytes);
  const socket = new Socket({
    fd,
    readable: true,
    writable: false,
    allowHalfOpen: true,
    onread: {
      buffer,
      callback: (count) => {
        onBytes(buffer.subarray(0, count));
        return true;
      },
    },
  });
  let ended = false;
  const end = (): void => {
    if (!ended) onEnd();
    ended = true;
  };
  socket.once("end", end).once("close", end).once("error", end);
  socket.resume();
}

export interface Output {
  /** Hands bytes to the pipe. They must not change before the promise resolves, which it does once they have left, or
   *  never will. */
  write(bytes: Uint8Array): Promise<void>;
  /** Bytes that the other side has not taken yet. */
  readonly backlog: number;
  /** Resolves once everything has left, or never will. */
  end(): Promise<void>;
}

/** Writes to a descriptor; `onBroken` is called when nobody reads any more. */
export function writeTo(fd: number, onBroken: () => void): Output {
  const socket = new Socket({ fd, readable: false, writable: true, allowHalfOpen: true });
  let broken = false;
  socket.on("error", () => {
    if (!broken) onBroken();
    broken = true;
  });
  return {
    write: async (bytes) => {
      if (broken || socket.destroyed) return;
      await new Promise<void>((resolve) => {
        socket.write(bytes, () => resolve());
      });
    },
    get backlog() {
      return socket.writableLength;
    },
    end: async () => {
      if (broken || socket.destroyed) return;
      await new Promise<void>((resolve) => {
        socket.once("close", resolve);
        socket.end(() => resolve());
      });
    },
  };
}
