// What can go wrong while an image is built, by short codes, and which exit status each of them is (design section 3).

import { FormatError } from "../../protocol/errors.ts";

/** Exit statuses of spbk-assemble; a signal n gives 128+n. */
export const exitStatuses = { done: 0, failed: 1, usage: 2, integrity: 5 } as const;
export type ExitReason = keyof typeof exitStatuses;

/** Every code and its exit status. `integrity` means that the archive is not what it was when it was written. */
export const assembleErrors = {
  usage: "usage",
  /** No archive, no volume, no session of that name, or more than one. */
  "no-archive": "failed",
  "no-volume": "failed",
  "no-such-session": "failed",
  /** Readable only with a key, with another one than was given, or by a newer program. */
  sealed: "failed",
  "wrong-key": "failed",
  "newer-format": "failed",
  /** The output exists, or is not something that may be written to. */
  exists: "failed",
  "bad-output": "failed",
  "no-space": "failed",
  "too-large": "failed",
  /** Whoever reads our stream has gone. */
  "closed-output": "failed",
  /** The system refused or failed: permissions, a disk that can't be read. */
  io: "failed",
  stopped: "failed",
  internal: "failed",
  "corrupt-archive": "integrity",
  "corrupt-head": "integrity",
  "corrupt-index": "integrity",
  "corrupt-header": "integrity",
  "corrupt-manifest": "integrity",
  "corrupt-chunk": "integrity",
  "corrupt-tar": "integrity",
  "truncated-tar": "integrity",
  "missing-file": "integrity",
  "missing-chunk": "integrity",
  "missing-container": "integrity",
  "map-root": "integrity",
} as const;
export type AssembleErrorCode = keyof typeof assembleErrors;

/** The image can't be built. The message says what failed, on which value and where; `hint` what to do about it. */
export class AssembleError extends Error {
  override readonly name: string = "AssembleError";
  readonly code: AssembleErrorCode;
  readonly hint: string | undefined;

  constructor(code: AssembleErrorCode, message: string, hint?: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.hint = hint;
  }

  /** What the program exits with for this. */
  get exitStatus(): number {
    return exitStatuses[assembleErrors[this.code]];
  }
}

/** `ENOENT` and the like, or undefined for what the system did not report. */
export function systemCode(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

const newerHint = "the archive was written by a newer version; use a spbk-assemble of that version or later";

/**
 * Runs `read` on the file at `path` and gives its failures the program's own form: what the format forbids becomes
 * `corrupt`, a file that is not there `missing`, what the system refuses `io`.
 */
export function reading<T>(
  what: string,
  path: string,
  codes: { readonly corrupt: AssembleErrorCode; readonly missing?: AssembleErrorCode },
  read: () => T,
): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof FormatError) {
      const newer = error.code === "bad-version";
      throw new AssembleError(
        newer ? "newer-format" : codes.corrupt,
        `${what} is ${newer ? "of another version of the format" : "damaged"}: ${error.message}, ${path}`,
        newer ? newerHint : undefined,
        { cause: error },
      );
    }
    throw asSystemError(error, what, path, codes.missing ?? "missing-file");
  }
}

/** An error of the system as one of ours; anything else as it is. */
export function asSystemError(
  error: unknown,
  what: string,
  path: string,
  missing: AssembleErrorCode,
): unknown {
  const code = systemCode(error);
  if (code === undefined) return error;
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new AssembleError(missing, `${what} is missing, ${path}`, undefined, { cause: error });
  }
  const hint =
    code === "EACCES" || code === "EPERM" ? "run it as a user who may read the archive" : undefined;
  return new AssembleError("io", `${what} can't be read: ${code}, ${path}`, hint, { cause: error });
}
