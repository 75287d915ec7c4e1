// What came over the wire, or lies on the disk under a name that someone chose, must not steer a terminal or fill a
// log: everything that is shown passes through here (design section 3).

const encoder = new TextEncoder();

/** `untrusted` with control, format and bidirectional characters and lone surrogates as \u{…}, and cut to at most
 *  `maxBytes` of UTF-8; what was cut ends in `…`. */
export function shown(untrusted: string, maxBytes = 200): string {
  // Cut first, so that a long text costs no more than a short one. Escapes only make it longer.
  const escaped = untrusted
    .slice(0, maxBytes)
    .replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu, (character) => {
      return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
    });
  if (untrusted.length <= maxBytes && encoder.encode(escaped).length <= maxBytes) return escaped;
  let kept = "";
  let bytes = encoder.encode("…").length;
  for (const character of escaped) {
    bytes += encoder.encode(character).length;
    if (bytes > maxBytes) break;
    kept += character;
  }
  return `${kept}…`;
}
