// The one field of a tar member's header that a reader of our own tars needs.

/** The size that a member's header states, in octal digits; NaN where there are none. */
export function memberSize(header: Uint8Array): number {
  const text = Buffer.from(header.buffer, header.byteOffset + 124, 11).toString("latin1");
  return /^[0-7]{11}$/.test(text) ? Number.parseInt(text, 8) : Number.NaN;
}
