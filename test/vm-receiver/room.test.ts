// What a send may write, and what it leaves for a prune.

import { expect, test } from "vitest";
import type { Space } from "../../vm-receiver/space.ts";
import { fileRoom, sessionRoom } from "../../vm-receiver/room.ts";

const mib = 1024 * 1024;

/** A drive on which files of `length` bytes are made until the room ends. Gives what is left then, and why. */
function fill(form: "dir" | "tar", drive: Space, length: number): Space & { code: string; looks: number } {
  const space = { ...drive };
  let looks = 0;
  const room = sessionRoom(form, () => {
    looks++;
    return space;
  });
  try {
    for (;;) {
      room.take(length);
      space.freeBytes -= length;
      if (form === "dir") space.freeInodes--;
    }
  } catch (error) {
    return { ...space, code: (error as { code: string }).code, looks };
  }
}

test.each([64 * mib, 1024 * mib, 1024 * 1024 * mib])("a 64th of %i bytes is left, or a GiB", (totalBytes) => {
  const drive = { freeBytes: totalBytes, totalBytes, freeInodes: 1e9, totalInodes: 1e9 };
  const reserve = Math.min(totalBytes / 64, 1024 * mib);
  for (const length of [100_000, 131_072, 4 * mib]) {
    const left = fill("tar", drive, length);
    expect(left.code).toBe("no-space");
    expect(left.freeBytes).toBeLessThanOrEqual(reserve);
    expect(left.freeBytes).toBeGreaterThan(reserve - length);
    // Not for each chunk.
    expect(left.looks).toBeLessThan(totalBytes / length / 8 + 64);
  }
});

test.each([
  [160, 2],
  [6400, 100],
  [1_000_000, 1024],
])("of %i inodes %i are left", (totalInodes, reserve) => {
  const drive = { freeBytes: 1e15, totalBytes: 1e15, freeInodes: totalInodes, totalInodes };
  const left = fill("dir", drive, 1000);
  expect(left).toMatchObject({ code: "no-inodes", freeInodes: reserve });
});

test("a tar needs no inode for a chunk, and a file system that does not count them has enough", () => {
  const drive = { freeBytes: 10 * mib, totalBytes: 10 * mib, freeInodes: 1, totalInodes: 6400 };
  expect(fill("tar", drive, 1000).code).toBe("no-space");
  expect(fill("dir", { ...drive, freeInodes: 0, totalInodes: 0 }, 1000).code).toBe("no-space");
});

test("a file system that says nothing is written to until it is full", () => {
  const room = sessionRoom("dir", () => ({ freeBytes: 0, totalBytes: 0, freeInodes: 0, totalInodes: 0 }));
  for (let i = 0; i < 1000; i++) room.take(mib);
});

test("no session begins on a drive that is full", () => {
  const drive = { freeBytes: 2 * mib, totalBytes: 128 * mib, freeInodes: 9, totalInodes: 9 };
  expect(() => sessionRoom("tar", () => drive).take(0)).toThrow(
    "2097152 bytes are free on the drive, wanted more than 2097152",
  );
});

test("what is no chunk may have half of what sends leave, of bytes and of inodes", () => {
  const drive = { freeBytes: 2 * mib, totalBytes: 128 * mib, freeInodes: 8, totalInodes: 640 };
  fileRoom(() => drive).take(mib);
  expect(() => fileRoom(() => ({ ...drive, freeBytes: mib })).take(0)).toThrow("a prune may need those");
  expect(() => fileRoom(() => ({ ...drive, freeInodes: 5 })).take(0)).toThrow("5 inodes are free");
});
