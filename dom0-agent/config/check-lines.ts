// The lines of a settings file, before the ini package reads them: it takes the last of two equal keys, a key without a
// value for `true`, `key[]` for a list and a dot in a section's name for nesting, each without a word.

import { AgentError } from "../errors.ts";

/** Throws AgentError `usage` at the first line that says something else than it seems to. */
export function checkLines(content: string, file: string): void {
  const seen = new Set<string>();
  let section = "";
  content.split(/\r\n|\r|\n/).forEach((text, i) => {
    const line = text.trim();
    const wrong = (found: string, hint?: string): AgentError =>
      new AgentError("usage", `${file}: line ${i + 1}: ${found}`, hint);
    if (line === "" || line.startsWith(";") || line.startsWith("#")) return;
    if (line.startsWith("[")) {
      const name = /^\[([^\]]*)\]$/.exec(line)?.[1]?.trim();
      if (name === undefined || text !== text.trimStart() || name.includes("."))
        throw wrong(
          `found «${line}», wanted a section, [NAME] at the line's beginning, alone, and no dot in it`,
        );
      section = name;
      return;
    }
    const [, key = ""] = /^([^=]*?)\s*=/.exec(line) ?? [];
    if (key === "") throw wrong(`found «${line}», wanted KEY = VALUE`);
    if (key.endsWith("[]")) throw wrong(`found the list «${key}», wanted one value`);
    const place = `[${section}] ${key}`;
    if (seen.has(place)) throw wrong(`found «${key}» once more in [${section}], wanted it once`);
    seen.add(place);
  });
}
