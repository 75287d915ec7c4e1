/** What is said of a sweep that failed, or that it did not come to. */
export function notSwept(archive: string, error?: Error): string {
  const what = `${archive}: what was removed comes free only with the next prune`;
  return error === undefined ? what : `${what}: ${error.message}`;
}
