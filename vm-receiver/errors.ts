// What the receiver tells the other side when it can't do what was asked: a code of the wire's table and a reason in
// words. Everything that may fail here ends up as one of these.

import { FormatError, InternalError } from "../protocol/errors.ts";
import { maxReasonBytes, type Refusal } from "../protocol/wire/messages.ts";
import type { Space } from "./space.ts";
import { shown } from "./sanitize.ts";

/** The request can't be done. The message says what, the value found and the value wanted. */
export class RefusalError extends Error {
  override readonly name: string = "RefusalError";
  readonly code: Refusal;

  constructor(code: Refusal, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** What the system's own error codes are in the wire's table. */
const systemRefusals: Readonly<Record<string, Refusal>> = {
  ENOSPC: "no-space",
  EDQUOT: "no-space",
  EROFS: "read-only",
  EFBIG: "unsupported",
  ENAMETOOLONG: "unsupported",
  EINVAL: "unsupported",
  EACCES: "not-allowed",
  EPERM: "not-allowed",
  ELOOP: "not-allowed",
  ENOTDIR: "not-allowed",
  EEXIST: "exists",
  ENOENT: "missing",
};

const explanations: Readonly<Record<string, string>> = {
  EFBIG: "the file would be larger than this file system allows",
  ELOOP: "a symbolic link stands where a file or directory of the archive should be",
};

export interface Reason {
  readonly code: Refusal;
  /** At most `maxReasonBytes`, without control characters. */
  readonly reason: string;
}

/** The refusal that `error` amounts to. `space` is asked when the file system says that it is full: it may only be out of
 *  inodes. */
export function reasonOf(error: unknown, space: () => Space | undefined = () => undefined): Reason {
  const { code, text } = classify(error, space);
  return { code, reason: shown(text, maxReasonBytes) };
}

function classify(
  error: unknown,
  space: () => Space | undefined,
): { readonly code: Refusal; readonly text: string } {
  if (error instanceof RefusalError) return { code: error.code, text: error.message };
  if (error instanceof FormatError) return { code: "malformed", text: error.message };
  if (error instanceof InternalError || !(error instanceof Error))
    return { code: "internal", text: String(error) };
  const system = systemCode(error);
  if (system === undefined) return { code: "internal", text: `${error.name}: ${error.message}` };
  if (system === "ENOSPC") {
    const found = space();
    if (found !== undefined && found.totalInodes > 0 && found.freeInodes === 0)
      return { code: "no-inodes", text: "the file system has no inodes left" };
    if (found !== undefined)
      return { code: "no-space", text: `the file system is full: ${found.freeBytes} bytes are free` };
  }
  const call = (error as NodeJS.ErrnoException).syscall ?? "a system call";
  const code = systemRefusals[system] ?? "io";
  return {
    code,
    text: `${call} failed: ${system}${explanations[system] === undefined ? "" : `: ${explanations[system]}`}`,
  };
}

/** `ENOENT` and the like, or undefined for an error that is not the system's. */
export function systemCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

const damageCodes: ReadonlySet<string> = new Set(["EIO", "EUCLEAN", "EBADMSG"]);

/** True for what reading damage throws: bytes that are not what they must be, and sectors, or a file system, that can't be
 *  read. */
export function isDamage(error: unknown): boolean {
  return error instanceof FormatError || damageCodes.has(systemCode(error) ?? "");
}

/** What `read` gives; undefined where that is damaged. */
export function unlessDamaged<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isDamage(error)) return undefined;
    throw error;
  }
}

/** Runs `action` as far as the system lets it: its errors and refusals end it and nothing else. */
export function ifPossible(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (systemCode(error) === undefined && !(error instanceof RefusalError)) throw error;
  }
}

/** Runs `action`; an error of the system with one of `codes` gives undefined instead. */
export function unless<T>(codes: readonly string[], action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    const code = systemCode(error);
    if (code !== undefined && codes.includes(code)) return undefined;
    throw error;
  }
}
