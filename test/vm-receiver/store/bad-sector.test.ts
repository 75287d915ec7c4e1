// A sector that can't be read is damage of the file that it is in, and of nothing else. No drive here has one on demand, so
// reading is a mock that fails for the paths that it is told.

import { mkdirSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { beforeEach, expect, test, vi } from "vitest";
import { sha256 } from "../../../protocol/archive/prefix.ts";
import type { ChunkAddress } from "../../../protocol/archive/types.ts";
import { FormatError } from "../../../protocol/errors.ts";
import { openAbsolute } from "../../../vm-receiver/directory.ts";
import { isDamage, RefusalError } from "../../../vm-receiver/errors.ts";
import { openArchive } from "../../../vm-receiver/store/archive.ts";
import { leftoversIn } from "../../../vm-receiver/store/leftovers.ts";
import { stores } from "../../../vm-receiver/store/stores.ts";
import { punchChunks } from "../../../vm-receiver/store/tar/punch.ts";
import { tempDir } from "../../support/temp-dir.ts";
import { chunkSize, newSession as session } from "./new-session.ts";

/** True for a read that is to fail: a path and where in the file. */
const disk = vi.hoisted(() => ({ isBad: (_path: string, _at: number): boolean => false }));

vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  const failing = ((fd: number, into: Uint8Array, start: number, length: number, at: number): number => {
    if (!disk.isBad(fs.readlinkSync(`/proc/self/fd/${fd}`), at))
      return fs.readSync(fd, into, start, length, at);
    throw Object.assign(new Error("EIO: i/o error, read"), { code: "EIO", syscall: "read" });
  }) as typeof fs.readSync;
  return { ...fs, readSync: failing };
});

/** A session of three chunks in `directory`, finished or not. */
async function written(directory: string, form: "dir" | "tar", finished: boolean): Promise<void> {
  using volume = openAbsolute(directory);
  using writer = await stores[form].begin(volume, session);
  for (let i = 0; i < 3; i++) {
    const bytes = new Uint8Array(randomBytes(20_000));
    writer.writeChunk((i * chunkSize) as ChunkAddress, bytes, sha256(bytes));
  }
  for (const file of ["header", "manifest"] as const) writeFileSync(writer.createMeta(file), file);
  writer.endList();
  if (finished) await writer.publish();
}

beforeEach(() => {
  disk.isBad = () => false;
});

test("damage is what a drive can't read, and what is not what it must be; nothing else is", () => {
  const system = (code: string): Error => Object.assign(new Error(code), { code });
  for (const code of ["EIO", "EUCLEAN", "EBADMSG"]) expect(isDamage(system(code))).toBe(true);
  for (const code of ["ENOSPC", "EACCES", "ENOENT"]) expect(isDamage(system(code))).toBe(false);
  expect(isDamage(new FormatError("truncated", "short"))).toBe(true);
  expect(isDamage(new RefusalError("io", "no"))).toBe(false);
});

test.each(["dir", "tar"] as const)(
  "leftovers are listed whatever of them can't be read: %s",
  async (form) => {
    for (const finished of [false, true]) {
      using directory = tempDir();
      const work = join(directory.path, "work");
      mkdirSync(work);
      await written(work, form, finished);
      using archive = openArchive(openAbsolute(directory.path));
      using volume = openAbsolute(work);
      expect([...leftoversIn(archive, volume, "work")]).toMatchObject([
        { identity: { session: session.session } },
      ]);
      disk.isBad = () => true;
      // A finished one that says nothing of itself is nobody's leftover.
      const left = [...leftoversIn(archive, volume, "work")].map(({ identity }) => identity);
      expect(left).toEqual(finished ? [] : [undefined]);
      disk.isBad = () => false;
    }
  },
);

test("of a tar that is punched, what can't be read is left, and the rest goes", async () => {
  using directory = tempDir();
  await written(directory.path, "tar", true);
  using volume = openAbsolute(directory.path);
  const addresses = [0, 1, 2].map((i) => (i * chunkSize) as ChunkAddress);
  const punched = async (): Promise<number> => {
    let freed = 0;
    await punchChunks(volume, session.name, addresses, (bytes) => {
      freed += bytes;
    });
    return freed;
  };
  disk.isBad = () => true;
  expect(await punched()).toBe(0);
  // The header of the first member.
  disk.isBad = (_path, at) => at === 0;
  expect(await punched()).toBe(2 * 16_384);
});
