// Files that only a session in tar form has, and only while it is written.

/** The tar itself, and the records that its last member will hold. */
export const tarPart = "tar";
export const offsetsPart = "offsets";
export const spoolNames: readonly string[] = [tarPart, offsetsPart];
