// Names of volumes as people give them: exact, or as a pattern. `*` stands for any characters but a slash, `**` for any,
// `?` for one, `[a-z]` for one of these. A name that exists is taken as it is, whatever characters it has.

/** True for text that has one of a pattern's characters. */
export function isPattern(text: string): boolean {
  return /[*?[]/.test(text);
}

/** What of `available` the patterns name, in the order of the patterns and then of `available`, none twice; and the
 *  patterns that name nothing. */
export function matchNames(
  patterns: readonly string[],
  available: readonly string[],
): { readonly found: readonly string[]; readonly unmatched: readonly string[] } {
  const found = new Set<string>();
  const unmatched: string[] = [];
  const known = new Set(available);
  for (const pattern of patterns) {
    const matches = known.has(pattern)
      ? [pattern]
      : isPattern(pattern)
        ? available.filter(matcher(pattern))
        : [];
    if (matches.length === 0) unmatched.push(pattern);
    for (const each of matches) found.add(each);
  }
  return { found: [...found], unmatched };
}

function matcher(pattern: string): (name: string) => boolean {
  const source = pattern.replaceAll(
    /\*\*|\*|\?|\[(!?)([^\]]+)\]|[^*?[]+|\[/gs,
    (part: string, not: string | undefined, set: string | undefined) => {
      if (part === "**") return ".*";
      if (part === "*") return "[^/]*";
      if (part === "?") return "[^/]";
      if (set !== undefined) return `[${not === "!" ? "^/" : ""}${set.replaceAll(/[\\\]^]/g, "\\$&")}]`;
      return part.replaceAll(/[\\^$.|?*+()[\]{}]/g, "\\$&");
    },
  );
  try {
    const expression = new RegExp(`^${source}$`, "s");
    return (name) => expression.test(name);
  } catch {
    // A range that runs backwards, as in [z-a].
    return () => false;
  }
}
