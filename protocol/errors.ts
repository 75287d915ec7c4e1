// What can be wrong with bytes from outside. One class, so that both sides and the golden vectors name a failure
// by the same short code.

/**
 * - `truncated`: the bytes end before the value does
 * - `trailing`: bytes are left over behind the value
 * - `too-long`: a length or count is above its bound
 * - `bad-magic`: not one of ours
 * - `bad-version`: ours, but a version that this program does not know
 * - `bad-value`: a field holds what it may not hold
 * - `bad-digest`: the digest does not fit the bytes
 * - `bad-mac`: the authentication code does not fit: altered, or another key
 * - `bad-order`: legal by itself, but not here
 */
export type FormatErrorCode =
  | "truncated"
  | "trailing"
  | "too-long"
  | "bad-magic"
  | "bad-version"
  | "bad-value"
  | "bad-digest"
  | "bad-mac"
  | "bad-order";

/** Bytes that came from outside are not what the format allows. The message names the action, what was found and
 *  what was wanted; it never repeats the bytes themselves. */
export class FormatError extends Error {
  override readonly name: string = "FormatError";
  readonly code: FormatErrorCode;

  constructor(code: FormatErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Our own code broke a rule: a bug, never bad input. */
export class InternalError extends Error {
  override readonly name: string = "InternalError";
}
