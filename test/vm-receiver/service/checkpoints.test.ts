import { expect, test } from "vitest";
import type { ChunkAddress } from "../../../protocol/archive/types.ts";
import { checkpoints } from "../../../vm-receiver/service/checkpoints.ts";
import type { SessionWriter, Written } from "../../../vm-receiver/store/store.ts";

const never = (): void => expect.unreachable();

/** A writer of which only the checkpoint is real; it is finished by hand. */
function writer(): SessionWriter & { written: Written; finish: (how: boolean | Error) => Promise<void> } {
  let settle: ((how: boolean | Error) => void) | undefined;
  return {
    written: { chunks: 0, bytes: 0, address: 0 as ChunkAddress },
    checkpoint: async () =>
      new Promise<boolean>((resolve, reject) => {
        settle = (how) => (how instanceof Error ? reject(how) : resolve(how));
      }),
    finish: async (how: boolean | Error) => {
      settle?.(how);
      await new Promise((resolve) => setImmediate(resolve));
    },
  } as never;
}

const written = (chunks: number): Written => ({
  chunks,
  bytes: chunks * 10,
  address: ((chunks - 1) * 65_536) as ChunkAddress,
});

test("what is reported is what was complete when the sync began", async () => {
  const to = writer();
  const reported: number[] = [];
  const syncs = checkpoints(to, ({ chunks }) => reported.push(chunks), never, 100);
  for (let i = 1; i <= 25; i++) {
    to.written = written(i);
    syncs.note();
  }
  await to.finish(true);
  expect(reported).toEqual([10]);
  to.written = written(26);
  syncs.note();
  await to.finish(true);
  expect(reported).toEqual([10, 26]);
});

test("where little comes, time makes one due", async () => {
  const to = writer();
  const reported: number[] = [];
  const syncs = checkpoints(to, ({ chunks }) => reported.push(chunks), never, 1000, 20);
  to.written = written(1);
  syncs.note();
  await to.finish(true);
  expect(reported).toEqual([]);
  await new Promise((resolve) => setTimeout(resolve, 30));
  to.written = written(2);
  syncs.note();
  to.written = written(3);
  syncs.note();
  await to.finish(true);
  expect(reported).toEqual([2]);
});

test("a file system that can't promise is not reported", async () => {
  const to = writer();
  const syncs = checkpoints(to, never, never, 100);
  to.written = written(10);
  syncs.note();
  await to.finish(false);
  await syncs.settle();
});

test("a sync that fails in mid-session is said at once, and no end of the session hides it", async () => {
  const to = writer();
  const failures: unknown[] = [];
  const syncs = checkpoints(to, never, (error) => failures.push(error), 100);
  to.written = written(10);
  syncs.note();
  await to.finish(new Error("EIO"));
  expect(failures).toHaveLength(1);
  await expect(syncs.settle()).rejects.toThrow("EIO");
});

test("a sync that fails while the session ends fails that end", async () => {
  const to = writer();
  const syncs = checkpoints(to, never, never, 100);
  to.written = written(10);
  syncs.note();
  const refused = expect(syncs.settle()).rejects.toThrow("EIO");
  await to.finish(new Error("EIO"));
  await refused;
});
