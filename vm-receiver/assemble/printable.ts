// Names and messages may hold what an archive's writer put there; a terminal must not take any of it for a command.

const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** `text` with control characters, line breaks, bidirectional marks and lone surrogates as \u{…}. */
export function printable(text: string): string {
  return text.replaceAll(unprintable, (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
}

/** An object as JSON, with the same characters as \uXXXX, of which JSON itself leaves many as they are. */
export function printableJson(value: object): string {
  return JSON.stringify(value).replaceAll(unprintable, (character) =>
    Array.from({ length: character.length }, (_, i) => {
      return `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`;
    }).join(""),
  );
}

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** A number of bytes for people: `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit] ?? ""}`;
}

/** An address the way the chunk files are named: 16 hexadecimal digits. */
export function formatAddress(address: number): string {
  return `0x${address.toString(16).padStart(16, "0")}`;
}

/** Milliseconds since 1970 as `2026-11-23 10:15:00 UTC`. */
export function formatTime(milliseconds: number): string {
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return "unknown time";
  return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** Seconds as `1:02:03` or `2:03`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (n: number): string => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const rest = `${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest.replace(/^0/, "");
}
