// The program's own version, and the versions of what the two sides and the archive agree on. The build checks
// that the first equals package.json's.

/** Version of the program, as `--version` prints it. */
export const programVersion = "0.1.0";

/** Version of the wire protocol; a peer that speaks another one is refused. */
export const wireVersion = 1;

/** Version of every structure in the archive; a reader refuses a structure whose version it does not know. */
export const archiveVersion = 1;
