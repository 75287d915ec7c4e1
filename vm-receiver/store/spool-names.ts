// Files that only a session that is being written has, or salvaged; the first two only in tar form.

/** The tar itself, and the records that its last member will hold. */
export const tarPart = "tar";
export const offsetsPart = "offsets";
/** The list that takes the place of the one that was cut short. */
export const newListPart = "new-list";
export const spoolNames: readonly string[] = [tarPart, offsetsPart, newListPart];
