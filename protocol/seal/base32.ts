// Bytes as text that people copy by hand: Crockford's base 32, without I, L, O and U, in groups; read back whatever the
// case, with O taken for 0, and I and L for 1.

const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** Five bits a character, the last filled up with zeros. */
export function toBase32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5;) {
      bits -= 5;
      text += digits[(held >> bits) & 31];
    }
    held &= (1 << bits) - 1;
  }
  return bits === 0 ? text : text + digits[(held << (5 - bits)) & 31];
}

/** The bytes that `text` spells, hyphens and white space apart; undefined where it spells none. What fills up the last
 *  character must be zeros. */
export function fromBase32(text: string): Uint8Array | undefined {
  const plain = bareBase32(text);
  const bytes = new Uint8Array(Math.floor((plain.length * 5) / 8));
  let bits = 0;
  let held = 0;
  let at = 0;
  for (const character of plain) {
    const value = digits.indexOf(character);
    if (value < 0) return undefined;
    held = (held << 5) | value;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes[at++] = held >> bits;
    held &= (1 << bits) - 1;
  }
  return held === 0 && bits < 5 ? bytes : undefined;
}

/** Without hyphens and white space, in the one case, with the characters that are taken for others replaced. */
export function bareBase32(text: string): string {
  return text.replaceAll(/[\s-]/g, "").toUpperCase().replaceAll("O", "0").replaceAll(/[IL]/g, "1");
}

/** Groups of four, joined by hyphens, `perLine` of them a line. */
export function grouped(text: string, perLine: number): string {
  const groups = text.match(/.{1,4}/g) ?? [];
  const lines: string[] = [];
  for (let i = 0; i < groups.length; i += perLine) lines.push(groups.slice(i, i + perLine).join("-"));
  return lines.join("\n");
}
