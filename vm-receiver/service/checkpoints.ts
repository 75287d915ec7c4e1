// Syncing in mid-session: after every 512 MiB, and every half minute where less has come, what has been stored is made to
// last, while more comes in. What was complete when the sync began is then reported, so that an interrupted session has to
// repeat no more than that, on a slow line too.

import type { Checkpoint } from "../../protocol/wire/messages.ts";
import type { SessionWriter } from "../store/store.ts";

export const checkpointBytes: number = 512 * 1024 * 1024;
const checkpointMilliseconds = 30_000;

export interface Checkpoints {
  /** Call after each chunk. */
  note(): void;
  /** Starts no more of them, and waits for the one that is going on. Throws what that one threw. */
  settle(): Promise<void>;
}

/** `report` is called for each, `failed` when a sync fails: then data may be lost, and the session is too. Neither is
 *  called once `settle` has been. */
export function checkpoints(
  writer: SessionWriter,
  report: (reached: Checkpoint) => void,
  failed: (error: unknown) => void,
  every: number = checkpointBytes,
  everyMs: number = checkpointMilliseconds,
): Checkpoints {
  let due = every;
  let dueAt = performance.now() + everyMs;
  let running: Promise<void> | undefined;
  let over = false;
  let failure: { readonly error: unknown } | undefined;

  const run = async (): Promise<void> => {
    const { chunks, address } = writer.written;
    try {
      if ((await writer.checkpoint()) && !over) report({ chunks, address });
    } catch (error) {
      failure = { error };
      if (!over) failed(error);
    }
    running = undefined;
  };
  return {
    note: () => {
      const isDue = writer.written.bytes >= due || performance.now() >= dueAt;
      if (!isDue || running !== undefined || over) return;
      due = writer.written.bytes + every;
      dueAt = performance.now() + everyMs;
      running = run();
    },
    settle: async () => {
      over = true;
      await running;
      if (failure !== undefined) throw failure.error;
    },
  };
}
