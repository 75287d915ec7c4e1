// Names of volumes by pattern: `*` stands for any characters but `/`, `?` for one of them.

/** True when `pattern` covers all of `name`. */
export function matchesGlob(pattern: string, name: string): boolean {
  const source = pattern
    .replace(/[\\^$.|+()[\]{}]/g, "\\$&")
    .replaceAll("*", "[^/]*")
    .replaceAll("?", "[^/]");
  return new RegExp(`^${source}$`, "su").test(name);
}
