// The few things done to byte arrays everywhere.

/** True when both hold the same bytes. Not for secrets: it stops at the first difference. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The same bytes as a plain Uint8Array: `slice` of a Node Buffer is a view and would not outlive what it came from. */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const hexDigits = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"));

/** Lower-case hexadecimal of all bytes. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += hexDigits[byte];
  return text;
}

/** The bytes that `text` spells in hexadecimal, or undefined where it spells none. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) =>
    Number.parseInt(text.slice(2 * i, 2 * i + 2), 16),
  );
}

/** One array that holds the parts one after another. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Frees the buffer of an array that is all of it, but for `slack` bytes, at once: the garbage collector would let a hundred
 *  megabytes gather first, and each new buffer then costs fresh pages. Buffers that Node shares among several are left
 *  alone. */
export function freeBytes({ buffer, length }: Uint8Array, slack = 0): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === length + slack) buffer.transfer(0);
}
