// Names of volumes as people give them: exact, or as a pattern. A name that exists is taken as it is, whatever
// characters it has.

import { matchesGlob } from "../config/glob.ts";

/** True for text that has one of a pattern's characters. */
export function isPattern(text: string): boolean {
  return /[*?]/.test(text);
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
  const matching = (pattern: string): readonly string[] => {
    if (known.has(pattern)) return [pattern];
    return isPattern(pattern) ? available.filter((name) => matchesGlob(pattern, name)) : [];
  };
  for (const pattern of patterns) {
    const matches = matching(pattern);
    if (matches.length === 0) unmatched.push(pattern);
    for (const each of matches) found.add(each);
  }
  return { found: [...found], unmatched };
}
