// The data channel between the stand-in client and the stand-in agent: three streams over one socket, each with half a
// megabyte of its own that may be under way, so that a stalled direction doesn't hold up another. Data messages are at
// most 64 KiB and keep no boundaries, as in real qrexec (facts: "The pipe").

import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";

export const streamNumbers = { stdin: 0, stdout: 1, stderr: 2 } as const;
export type StreamName = keyof typeof streamNumbers;

const windowBytes = 512 * 1024;
const maxMessageBytes = 64 * 1024;
const creditKind = 16;
const exitKind = 17;
const headerBytes = 5;

export interface Link {
  /** Sends all of `source` to the other side, then its end. */
  send(name: StreamName, source: Readable): void;
  /** Writes what comes to `sink`, then ends it. What a broken sink does not take is thrown away. */
  receive(name: StreamName, sink: Writable): void;
  sendExit(code: number): void;
  /** The exit code that the other side sent; undefined when the socket closed without one. */
  readonly exit: Promise<number | undefined>;
}

export function linkOver(socket: Socket): Link {
  const credit = [windowBytes, windowBytes, windowBytes];
  const refill: (() => void)[] = [];
  const sinks: (Writable | undefined)[] = [];
  const exit = Promise.withResolvers<number | undefined>();
  let held: Buffer = Buffer.alloc(0);

  const message = (kind: number, payload: Uint8Array): void => {
    if (socket.destroyed || !socket.writable) return;
    const header = Buffer.alloc(headerBytes);
    header.writeUInt8(kind, 0);
    header.writeUInt32BE(payload.length, 1);
    socket.write(header);
    socket.write(payload);
  };
  const giveBack = (stream: number, bytes: number): void => {
    const payload = Buffer.alloc(headerBytes);
    payload.writeUInt8(stream, 0);
    payload.writeUInt32BE(bytes, 1);
    message(creditKind, payload);
  };

  const take = (kind: number, payload: Buffer): void => {
    if (kind === exitKind) exit.resolve(payload.readUInt32BE(0));
    else if (kind === creditKind) {
      const stream = payload.readUInt8(0);
      credit[stream] = (credit[stream] ?? 0) + payload.readUInt32BE(1);
      refill[stream]?.();
    } else {
      const sink = sinks[kind];
      if (payload.length === 0) sink?.end();
      else if (sink === undefined || sink.destroyed || !sink.writable) giveBack(kind, payload.length);
      else sink.write(payload, () => giveBack(kind, payload.length));
    }
  };

  socket.on("data", (data: Buffer) => {
    held = held.length === 0 ? data : Buffer.concat([held, data]);
    while (held.length >= headerBytes && held.length >= headerBytes + held.readUInt32BE(1)) {
      const end = headerBytes + held.readUInt32BE(1);
      take(held.readUInt8(0), held.subarray(headerBytes, end));
      held = held.subarray(end);
    }
  });
  socket.on("error", () => {});
  socket.on("close", () => exit.resolve(undefined));

  return {
    send: (name, source) => {
      const stream = streamNumbers[name];
      refill[stream] = () => {
        if ((credit[stream] ?? 0) > 0) source.resume();
      };
      let ended = false;
      const end = (): void => {
        if (!ended) message(stream, new Uint8Array(0));
        ended = true;
      };
      source.on("data", (chunk: Buffer) => {
        for (let at = 0; at < chunk.length; at += maxMessageBytes) {
          message(stream, chunk.subarray(at, at + maxMessageBytes));
        }
        credit[stream] = (credit[stream] ?? 0) - chunk.length;
        if ((credit[stream] ?? 0) <= 0) source.pause();
      });
      source.on("error", () => {});
      source.on("end", end);
      source.on("close", end);
    },
    receive: (name, sink) => {
      sink.on("error", () => {});
      sinks[streamNumbers[name]] = sink;
    },
    sendExit: (code) => {
      const payload = Buffer.alloc(4);
      payload.writeUInt32BE(code);
      message(exitKind, payload);
      socket.end();
    },
    exit: exit.promise,
  };
}
