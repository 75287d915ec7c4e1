import { closeSync, openSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { zeroTail } from "../../../dom0-agent/restore/zero-tail.ts";
import { tempDir } from "../../support/temp-dir.ts";

const mib = 1024 * 1024;

test("what lies behind the end is zeros afterwards, and nothing before it is touched", () => {
  using directory = tempDir();
  const path = join(directory.path, "volume");
  writeFileSync(path, Buffer.alloc(4 * mib, 7));
  const fd = openSync(path, "r+");
  try {
    zeroTail(fd, mib + 1234, 4 * mib);
  } finally {
    closeSync(fd);
  }
  const bytes = readFileSync(path);
  expect(bytes.subarray(0, mib + 1234).every((byte) => byte === 7)).toBe(true);
  expect(bytes.subarray(mib + 1234).every((byte) => byte === 0)).toBe(true);
  expect(bytes.length).toBe(4 * mib);
});

test("where it is zeros already, nothing is written", () => {
  using directory = tempDir();
  const path = join(directory.path, "volume");
  writeFileSync(path, "");
  truncateSync(path, 4 * mib);
  const fd = openSync(path, "r+");
  try {
    zeroTail(fd, 1234, 4 * mib);
  } finally {
    closeSync(fd);
  }
  expect(statSync(path).blocks).toBe(0);
});
