import { expect, test } from "vitest";
import { shown } from "../../vm-receiver/sanitize.ts";

test("what steers a terminal is escaped", () => {
  expect(shown("a\u001b[31mred\r\nb")).toBe("a\\u{1b}[31mred\\u{d}\\u{a}b");
  expect(shown("\u202egnp.exe\u2028\u200b")).toBe("\\u{202e}gnp.exe\\u{2028}\\u{200b}");
  expect(shown("\ud800")).toBe("\\u{d800}");
  expect(shown("Ärger, 図 and 🙂")).toBe("Ärger, 図 and 🙂");
});

test("what is long is cut, by its bytes, between characters", () => {
  expect(shown("x".repeat(500), 10)).toBe(`${"x".repeat(7)}…`);
  expect(shown("図".repeat(500), 10)).toBe("図図…");
  expect(shown("x".repeat(10), 10)).toBe("x".repeat(10));
  expect(Buffer.byteLength(shown("\u0000".repeat(1_000_000), 512))).toBeLessThanOrEqual(512);
  expect(Buffer.byteLength(shown("🙂".repeat(300), 512))).toBeLessThanOrEqual(512);
});
