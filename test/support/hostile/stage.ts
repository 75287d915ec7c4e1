// What a lie is, and what it can do.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { encodeFrame, type Frame } from "../../../protocol/wire/frame.ts";
import type { MessageName, Messages } from "../../../protocol/wire/messages.ts";

/** A way to lie. What it does not change goes on as it was. */
export interface Lie {
  /** In place of the preamble. */
  start?(stage: Stage): void;
  /** Bytes for the agent in place of a frame of the real receiver; undefined: the frame itself. */
  answer?(frame: Frame, stage: Stage): readonly Uint8Array[] | undefined;
  /** Frames for the real receiver in place of one of the agent; undefined: the frame itself. */
  request?(frame: Frame, stage: Stage): readonly Frame[] | undefined;
}

export interface Stage {
  /** The archive's directory. */
  readonly archive: string;
  /** How many frames of each type the agent has sent. */
  readonly heard: ReadonlyMap<MessageName, number>;
  /** The last request of the agent. */
  readonly newest: MessageName | undefined;
  /** The last frame of a type that the agent has sent. */
  last<Name extends MessageName>(type: Name): Messages[Name] | undefined;
  /** The first frame of a type that the agent has sent, of those that `wanted` names. */
  first<Name extends MessageName>(
    type: Name,
    wanted: (body: Messages[Name]) => boolean,
  ): Messages[Name] | undefined;
  /** Says bytes to the agent. */
  say(...bytes: readonly Uint8Array[]): void;
  /** Says all that the generator gives, at the agent's pace, and nothing of the real receiver any more. */
  flood(bytes: Iterable<Uint8Array>): void;
  /** Nothing of the real receiver goes on any more, and the process stays when that one ends. */
  mute(): void;
  /** Prints to stderr. */
  print(text: string): void;
  /** Ends the process and the real receiver. */
  exit(code: number): void;
  /** Calls something over and over. */
  every(milliseconds: number, what: () => void): void;
}

/** Bytes: how large the volume is. */
export const imageBytes: number = 1536 * 1024;

/** Where, beside the archive, another one lies. */
export const otherDirectory = "other";

/** A frame's bytes. */
export function bytesOf(frame: Frame): Uint8Array {
  return encodeFrame(frame.type, frame.id, frame.body as never);
}

/** A frame of any id and body. */
export function say<Name extends MessageName>(type: Name, id: number, body: Messages[Name]): Uint8Array {
  return encodeFrame(type, id, body);
}

/** The bytes of a frame with some of them changed, as no codec would write them. */
export function broken(frame: Uint8Array, change: (view: DataView, bytes: Uint8Array) => void): Uint8Array {
  const bytes = frame.slice();
  change(new DataView(bytes.buffer), bytes);
  return bytes;
}

/** The name of the volume's directory, which means nothing in a sealed archive. */
export function volumeOf(stage: Stage): string {
  const names = readdirSync(stage.archive, { withFileTypes: true }).filter((each) => each.isDirectory());
  return names.find((each) => !["heads", "dead", "copies", "assembled"].includes(each.name))?.name ?? "";
}

/** The volume's directory has these. */
export function volumeFiles(stage: Stage): string[] {
  return readdirSync(join(stage.archive, volumeOf(stage))).sort();
}

/** A file of the archive. */
export function fileOf(stage: Stage, ...path: readonly string[]): Uint8Array {
  return new Uint8Array(readFileSync(join(stage.archive, ...path)));
}

/** Text that a terminal would obey: colours, a title, a bell, a faked line, text that runs from right to left. */
export const escapes = "\u001b[31m\u001b]0;title\u0007\r\nsparsebak: done\u202Egnp.exe\u009b2J";
