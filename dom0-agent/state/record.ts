// dom0's small records: JSON text and a line with its SHA-256, replaced whole. A record that does not fit its digest
// is told apart from one that is not there: the first is damage, and is said.

import { createHash } from "node:crypto";
import { isChunkSize } from "../../protocol/archive/types.ts";
import { utf8 } from "../../protocol/wire/writer.ts";
import { AgentError } from "../errors.ts";
import { readIfThere, replaceFile } from "./atomic-file.ts";

/** A file of dom0's own state is there but can't be used. */
export class DamagedStateError extends AgentError {
  override readonly name: string = "DamagedStateError";
  readonly path: string;

  constructor(path: string, why: string, hint?: string) {
    super("failed", `read state: ${path}: ${why}`, hint);
    this.path = path;
  }
}

/** Replaces the record at `path`. */
export function writeRecord(path: string, value: object): void {
  const text = `${JSON.stringify(value)}\n`;
  replaceFile(path, [utf8(`${text}${digestLine(text)}`)]);
}

/** The record at `path` as `check` gives it back, or undefined where there is none. Throws DamagedStateError. */
export function readRecord<T>(path: string, check: (value: Record<string, unknown>) => T): T | undefined {
  const raw = readIfThere(path);
  if (raw === undefined) return undefined;
  const content = new TextDecoder().decode(raw);
  const split = content.lastIndexOf("\n", content.length - 2) + 1;
  if (split < 1 || content.slice(split) !== digestLine(content.slice(0, split))) {
    throw new DamagedStateError(path, "its digest does not fit its content");
  }
  try {
    const value: unknown = JSON.parse(content.slice(0, split));
    if (typeof value !== "object" || value === null) throw new Error("not an object");
    return check(value as Record<string, unknown>);
  } catch (error) {
    throw new DamagedStateError(path, error instanceof Error ? error.message : String(error));
  }
}

function digestLine(text: string): string {
  return `${createHash("sha256").update(text).digest("hex")}\n`;
}

/** Field readers for `check` functions: each throws when the field is not what it must be. */
export const field = {
  text: (value: Record<string, unknown>, name: string): string => {
    const found = value[name];
    if (typeof found !== "string") throw new Error(`${name}: found ${typeof found}, wanted text`);
    return found;
  },
  number: (value: Record<string, unknown>, name: string): number => {
    const found = value[name];
    if (typeof found !== "number" || !Number.isSafeInteger(found) || found < 0) {
      throw new Error(`${name}: found ${String(found)}, wanted a whole number`);
    }
    return found;
  },
  chunkSize: (value: Record<string, unknown>, name: string): number => {
    const found = field.number(value, name);
    if (!isChunkSize(found)) throw new Error(`${name}: found ${found}, wanted the size of a chunk`);
    return found;
  },
  flag: (value: Record<string, unknown>, name: string): boolean => {
    const found = value[name];
    if (typeof found !== "boolean") throw new Error(`${name}: found ${typeof found}, wanted true or false`);
    return found;
  },
  hex: <T extends Uint8Array>(value: Record<string, unknown>, name: string, bytes: number): T => {
    const found = value[name];
    if (typeof found !== "string" || found.length !== bytes * 2 || !/^[0-9a-f]*$/.test(found)) {
      throw new Error(`${name}: wanted ${bytes} bytes in hexadecimal`);
    }
    return Uint8Array.from(Buffer.from(found, "hex")) as Uint8Array as T;
  },
};
