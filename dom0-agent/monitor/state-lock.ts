/** Seconds that a run waits for another one's short hold of the state. */
export const stateLockSeconds = 30;
