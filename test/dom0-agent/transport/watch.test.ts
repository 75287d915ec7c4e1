import { expect, test } from "vitest";
import { TransportError } from "../../../dom0-agent/transport/transport.ts";
import { type Clock, type StallWatch, stallWatch } from "../../../dom0-agent/transport/watch.ts";

/** A clock that stands still until it is told to go on. */
function handClock(): { readonly clock: Clock; readonly pass: (ms: number) => void } {
  let now = 0;
  const timers = new Set<{ readonly at: number; readonly fire: () => void }>();
  return {
    clock: {
      now: () => now,
      after: (ms, fire) => {
        const timer = { at: now + ms, fire };
        timers.add(timer);
        return () => timers.delete(timer);
      },
    },
    pass: (ms) => {
      const end = now + ms;
      for (;;) {
        const due = [...timers].filter((each) => each.at <= end).sort((a, b) => a.at - b.at)[0];
        if (due === undefined) break;
        timers.delete(due);
        now = Math.max(now, due.at);
        due.fire();
      }
      now = end;
    },
  };
}

function watched(seconds = 10): { watch: StallWatch; pass: (ms: number) => void; stalls: TransportError[] } {
  const { clock, pass } = handClock();
  const stalls: TransportError[] = [];
  return {
    watch: stallWatch({ seconds, what: "VM backup", onStall: (error) => stalls.push(error), clock }),
    pass,
    stalls,
  };
}

const settle = async (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a wait without progress ends with an error that names who and how long", async () => {
  const { watch, pass, stalls } = watched();
  const wait = watch.waitFor(new Promise(() => {}));
  pass(9999);
  expect(stalls).toEqual([]);
  pass(1);
  await expect(wait).rejects.toBe(stalls[0]);
  expect(stalls).toMatchObject([{ message: "VM backup: no progress for 10 s", unreachable: false }]);
  await expect(watch.waitFor(new Promise(() => {}))).rejects.toBe(stalls[0]);
  expect(stalls).toHaveLength(1);
});

test("a number that grows is progress; the same number, or a smaller one, is not", async () => {
  const { watch, pass, stalls } = watched();
  void watch.waitFor(new Promise(() => {})).catch(() => {});
  for (let i = 1; i <= 5; i++) {
    pass(9000);
    watch.progress(i);
  }
  expect(stalls).toEqual([]);
  for (let i = 0; i < 9; i++) {
    pass(1000);
    watch.progress(i % 2 === 0 ? 5 : 4);
    watch.progress(Number.NaN);
  }
  expect(stalls).toEqual([]);
  pass(1000);
  expect(stalls).toHaveLength(1);
});

test("waits that are answered without progress add up, and our own work between them does not count", async () => {
  const { watch, pass, stalls } = watched();
  for (let i = 0; i < 9; i++) {
    const heartbeat = Promise.withResolvers<string>();
    const wait = watch.waitFor(heartbeat.promise);
    pass(1000);
    heartbeat.resolve("beat");
    expect(await wait).toBe("beat");
    await settle();
    pass(3_600_000);
  }
  expect(stalls).toEqual([]);
  const last = watch.waitFor(new Promise(() => {}));
  pass(1000);
  await expect(last).rejects.toBeInstanceOf(TransportError);
});

test("a new request starts with fresh numbers", async () => {
  const { watch, pass, stalls } = watched();
  void watch.waitFor(new Promise(() => {})).catch(() => {});
  watch.progress(1000);
  pass(9000);
  watch.restart();
  pass(9000);
  watch.progress(1);
  pass(9000);
  expect(stalls).toEqual([]);
});

test("what the step itself says is passed on, and two waits at once are both ended", async () => {
  const { watch, pass } = watched();
  await expect(watch.waitFor(Promise.reject(new Error("broken pipe")))).rejects.toThrow("broken pipe");
  const both = [watch.waitFor(new Promise(() => {})), watch.waitFor(new Promise(() => {}))];
  const outcome = Promise.allSettled(both);
  pass(10_000);
  expect((await outcome).map((each) => each.status)).toEqual(["rejected", "rejected"]);
});

test("nothing fires after its end", async () => {
  const { watch, pass, stalls } = watched();
  void watch.waitFor(new Promise(() => {})).catch(() => {});
  watch[Symbol.dispose]();
  pass(100_000);
  expect(stalls).toEqual([]);
});
