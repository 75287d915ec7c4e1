// Gives up on a receiver that makes no progress. Only a number that grows is progress: a peer that heartbeats without
// it is given up on too (design section 6). Only the time in which we wait for the other side counts, so that a slow
// disk on our side is never held against it.

import { TransportError } from "./transport.ts";

/** Time as the watch needs it; tests have one of their own. */
export interface Clock {
  /** Milliseconds, monotonic; time in which the machine sleeps is not counted. */
  now(): number;
  /** Calls `fire` after `ms`; gives what calls it off. */
  after(ms: number, fire: () => void): () => void;
}

const systemClock: Clock = {
  now: () => performance.now(),
  after: (ms, fire) => {
    // setTimeout fires at once for more than 2^31-1 ms.
    const timer = setTimeout(fire, Math.min(ms, 2 ** 31 - 1));
    return () => clearTimeout(timer);
  },
};

export interface StallWatchOptions {
  /** Seconds of waiting without progress after which the other side is given up. */
  readonly seconds: number;
  /** Whom we wait for, for the message: a transport's name. */
  readonly what: string;
  /** Called once, with the error that all who wait get; aborts the connection. */
  readonly onStall: (error: TransportError) => void;
  readonly clock?: Clock;
}

export interface StallWatch extends Disposable {
  /** Waits for `step`, which depends on the other side. Rejects with the TransportError when the watch runs out. */
  waitFor<T>(step: Promise<T>): Promise<T>;
  /** How far the other side has come, in any unit: bytes taken, chunks stored. It is progress where it is more than
   *  the most so far. */
  progress(total: number): void;
  /** A new request begins, whose numbers start afresh. */
  restart(): void;
}

export function stallWatch({ seconds, what, onStall, clock = systemClock }: StallWatchOptions): StallWatch {
  const limitMs = seconds * 1000;
  let most = Number.NEGATIVE_INFINITY;
  /** Waiting time since the last progress, without the wait that is going on. */
  let waitedMs = 0;
  let since = 0;
  let callOff: (() => void) | undefined;
  let stalled: TransportError | undefined;
  const waiters = new Set<(error: TransportError) => void>();

  const count = (): void => {
    const now = clock.now();
    waitedMs += now - since;
    since = now;
  };
  const run = (): void => {
    callOff = clock.after(limitMs - waitedMs, () => {
      callOff = undefined;
      count();
      // There was progress since the timer was set, or it came early.
      if (waitedMs < limitMs) {
        run();
        return;
      }
      stalled = new TransportError(
        `${what}: no progress for ${seconds} s`,
        false,
        "if it is only slow, raise stall-seconds in sparsebak.ini",
      );
      for (const reject of waiters) reject(stalled);
      onStall(stalled);
    });
  };
  const stop = (): void => {
    callOff?.();
    callOff = undefined;
  };
  const reset = (): void => {
    waitedMs = 0;
    since = clock.now();
  };

  return {
    waitFor: async (step) =>
      new Promise((resolve, reject) => {
        if (stalled !== undefined) reject(stalled);
        waiters.add(reject);
        if (waiters.size === 1) {
          since = clock.now();
          if (stalled === undefined) run();
        }
        step.then(resolve, reject).finally(() => {
          waiters.delete(reject);
          if (waiters.size > 0) return;
          count();
          stop();
        });
      }),
    progress: (total) => {
      if (!(total > most)) return;
      most = total;
      reset();
    },
    restart: () => {
      most = Number.NEGATIVE_INFINITY;
      reset();
    },
    [Symbol.dispose]: stop,
  };
}
