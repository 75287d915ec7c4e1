// A volume's line in [volumes]: added, or turned from disable to enable, with the rest of the file as it is.

import { AgentError } from "../errors.ts";
import { parseSettings } from "./settings.ts";

/** The file's text with `volume` enabled; the same text where it is. Throws AgentError `usage` for a name that this
 *  kind of file can't hold. */
export function enableVolume(content: string, volume: string): string {
  const enabled = (text: string): boolean | undefined => parseSettings(text, "", "").volumes.get(volume);
  if (enabled(content) === true) return content;
  const line = `${volume} = enable`;
  const lines = content.split("\n");
  const changed = enabled(content) === false ? lines.map(turnedOn(volume)) : withLine(lines, line);
  const result = changed.join("\n");
  let done: boolean | undefined;
  try {
    done = enabled(result);
  } catch {
    // A name that reads as something else: with a bracket or a semicolon in front.
  }
  if (done !== true)
    throw new AgentError("usage", `add: «${volume}» can't be written as a line of an ini file`);
  return result;
}

function turnedOn(volume: string): (line: string) => string {
  return (line) => {
    const [, name, between, after = ""] = /^\s*([^=]*?)(\s*=\s*)disable\b(.*)$/.exec(line) ?? [];
    return name === volume ? `${name}${between ?? " = "}enable${after}` : line;
  };
}

/** Behind the last line of [volumes] that says something; in a section of its own where there is none. */
function withLine(lines: readonly string[], line: string): readonly string[] {
  const start = lines.findIndex((each) => /^\s*\[volumes\]/.test(each));
  if (start < 0) {
    const end = lines.findLastIndex((each) => each.trim() !== "") + 1;
    return [...lines.slice(0, end), ...(end > 0 ? [""] : []), "[volumes]", line, ""];
  }
  const next = lines.findIndex((each, i) => i > start && /^\s*\[/.test(each));
  const section = lines.slice(start, next < 0 ? undefined : next);
  const at = start + section.findLastIndex((each) => each.trim() !== "") + 1;
  return [...lines.slice(0, at), line, ...(at === lines.length ? [""] : []), ...lines.slice(at)];
}
