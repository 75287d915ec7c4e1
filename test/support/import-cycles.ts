// Circles among files that import each other: in a circle, what a module sees of another depends on who was loaded
// first.
import type { Import } from "./imports.ts";

export interface Cycle {
  /** The file whose import closes the circle, and that import's line. */
  readonly path: string;
  readonly line: number;
  /** The files of the circle in the order of their imports; the last is the first again. */
  readonly cycle: readonly string[];
}

/**
 * One circle for each import that leads back to a file on the way to it. `graph` holds a file's imports with the
 * imported file's path as specifier; what it does not hold (a missing or foreign file) ends a way.
 */
export function findCycles(graph: ReadonlyMap<string, readonly Import[]>): Cycle[] {
  const cycles: Cycle[] = [];
  const done = new Set<string>();
  const way: string[] = [];
  const visit = (path: string): void => {
    way.push(path);
    for (const { specifier, line } of graph.get(path) ?? []) {
      if (specifier === undefined || done.has(specifier)) continue;
      const start = way.indexOf(specifier);
      if (start < 0) visit(specifier);
      else cycles.push({ path, line, cycle: [...way.slice(start), specifier] });
    }
    way.pop();
    done.add(path);
  };
  for (const path of graph.keys()) {
    if (!done.has(path)) visit(path);
  }
  return cycles;
}
