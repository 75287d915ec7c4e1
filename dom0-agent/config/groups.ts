// [groups] of the settings: which volumes share chunks. A chunk that one volume of a group has stored is not stored
// again for another; whoever can watch the destination learns that they have it in common (design section 8).

import { matchesGlob } from "./glob.ts";

/** A group's name, and what its volumes' names look like. */
export interface GroupSettings {
  readonly name: string;
  readonly globs: readonly string[];
}

/** Roots of templates and of what was cloned from them: as LVM volumes, and as image files. */
export const defaultGroups: readonly GroupSettings[] = [
  { name: "roots", globs: ["vm-*-root", "vm-templates/*/root.img", "appvms/*/root.img"] },
];

/** The group of a volume that the archive does not have yet: the first that one of its patterns fits; undefined for a
 *  volume that shares with no other. */
export function groupFor(groups: readonly GroupSettings[], volume: string): string | undefined {
  return groups.find(({ globs }) => globs.some((glob) => matchesGlob(glob, volume)))?.name;
}
