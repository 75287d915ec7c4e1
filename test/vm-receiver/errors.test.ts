import { describe, expect, test } from "vitest";
import { FormatError, InternalError } from "../../protocol/errors.ts";
import { maxReasonBytes } from "../../protocol/wire/messages.ts";
import { reasonOf, RefusalError, unless } from "../../vm-receiver/errors.ts";

const system = (code: string): Error =>
  Object.assign(new Error(`${code}: open '/x/secret'`), { code, syscall: "write" });

describe("what the system says becomes one of the wire's codes", () => {
  test.each([
    ["ENOSPC", "no-space"],
    ["EDQUOT", "no-space"],
    ["EROFS", "read-only"],
    ["EFBIG", "unsupported"],
    ["EACCES", "not-allowed"],
    ["EIO", "io"],
    ["ESTALE", "io"],
  ])("%s", (code, refusal) => {
    const reason = reasonOf(system(code));
    expect(reason.code).toBe(refusal);
    expect(reason.reason).toContain(code);
    expect(reason.reason).not.toContain("secret");
  });

  test("a full file system says what it has, and may only be out of inodes", () => {
    const space = { freeBytes: 4096, totalBytes: 1e6, freeInodes: 0, totalInodes: 10 };
    expect(reasonOf(system("ENOSPC"), () => space).code).toBe("no-inodes");
    for (const totalInodes of [0, 10]) {
      const full = { ...space, freeInodes: totalInodes / 2, totalInodes };
      expect(reasonOf(system("ENOSPC"), () => full)).toEqual({
        code: "no-space",
        reason: "the file system is full: 4096 bytes are free",
      });
    }
  });

  test("a file that is too large for the file system is explained", () => {
    expect(reasonOf(system("EFBIG")).reason).toContain("larger than this file system allows");
  });
});

test("other errors", () => {
  expect(reasonOf(new RefusalError("busy", "another run")).code).toBe("busy");
  expect(reasonOf(new FormatError("bad-digest", "x")).code).toBe("malformed");
  expect(reasonOf(new InternalError("x")).code).toBe("internal");
  expect(reasonOf(new TypeError("x")).code).toBe("internal");
  expect(
    Buffer.byteLength(reasonOf(new RefusalError("io", "\u0007".repeat(9999))).reason),
  ).toBeLessThanOrEqual(maxReasonBytes);
});

test("unless lets through what it was not told to expect", () => {
  const fail = (code: string) => (): never => {
    throw system(code);
  };
  expect(unless(["ENOENT"], fail("ENOENT"))).toBeUndefined();
  expect(() => unless(["ENOENT"], fail("EACCES"))).toThrow("EACCES");
});
