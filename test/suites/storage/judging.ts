// What a storage said or gave, compared with what it has to be.

import assert from "node:assert/strict";
import type { Extent } from "../../../dom0-agent/delta/extent.ts";
import { StorageError, type StorageErrorCode } from "../../../dom0-agent/storage/storage.ts";

/** Bytes in which contents are compared: what is written smaller counts for the whole of it. */
export const block = 4096;

/** Stretches of whole blocks in which two contents differ, from `start`; where one has ended, the other is all new. */
export function differences(left: Buffer, right: Buffer, start = 0): readonly Extent[] {
  const found: Extent[] = [];
  for (let at = start; at < Math.max(left.length, right.length); at += block) {
    const [a, b] = [left, right].map((each) => each.subarray(at, at + block));
    const same = b?.length === 0 ? isZero(a) : a?.length === 0 ? isZero(b) : a?.equals(b ?? Buffer.alloc(0));
    if (same !== true) found.push({ offset: at, length: block });
  }
  return found;
}

function isZero(bytes: Buffer | undefined): boolean {
  return bytes?.every((each) => each === 0) ?? true;
}

/** Every stretch of `wanted` lies in one of `extents`, which rise. */
export function assertCovers(extents: readonly Extent[], wanted: readonly Extent[]): void {
  const missed = wanted.filter(
    ({ offset, length }) =>
      !extents.some((each) => each.offset <= offset && each.offset + each.length >= offset + length),
  );
  assert.equal(
    missed.length,
    0,
    `missed ${JSON.stringify(missed.slice(0, 8))} in ${JSON.stringify(extents)}`,
  );
}

/** In rising order, apart from each other, none empty, none past `size`. */
export function assertRising(extents: readonly Extent[], size: number): void {
  let end = 0;
  for (const { offset, length } of extents) {
    assert.ok(offset >= end && length > 0 && offset + length <= size, JSON.stringify({ extents, size }));
    end = offset + length;
  }
}

export function assertSame(found: Buffer, wanted: Buffer): void {
  assert.equal(found.length, wanted.length);
  if (!found.equals(wanted))
    assert.fail(`differs at ${JSON.stringify(differences(found, wanted).slice(0, 8))}`);
}

export function total(extents: readonly Extent[]): number {
  return extents.reduce((sum, each) => sum + each.length, 0);
}

export function isError(...codes: readonly StorageErrorCode[]): (error: unknown) => boolean {
  return (error) => error instanceof StorageError && codes.includes(error.code);
}

/** The promise fails with a StorageError of that code. Gives the error. */
export async function rejects(promise: Promise<unknown>, code: StorageErrorCode): Promise<StorageError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof StorageError && error.code === code) return error;
    throw error;
  }
  assert.fail(`nothing was thrown, wanted a StorageError «${code}»`);
}
