// Long loops of short system calls: between them, what else the process does gets its turn, the heartbeat above all.

import { setImmediate as nextTurn } from "node:timers/promises";

/** Milliseconds of a loop without a turn for others: a slow medium's removal alone can take ten. */
const longestMs = 50;

/** To be awaited in each round of a loop. */
export function pace(): () => Promise<void> | undefined {
  let since = performance.now();
  const turn = async (): Promise<void> => {
    await nextTurn();
    since = performance.now();
  };
  return () => (performance.now() - since < longestMs ? undefined : turn());
}
