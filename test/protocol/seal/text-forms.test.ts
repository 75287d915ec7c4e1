// Keys and receipts as people copy them: recovery form, read key, receipt (docs/keys.md).

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Digest, Generation } from "../../../protocol/archive/types.ts";
import { FormatError } from "../../../protocol/errors.ts";
import { fromBase32, toBase32 } from "../../../protocol/seal/base32.ts";
import { archiveKeys, groupKey, logEntry, volumeKey } from "../../../protocol/seal/keys.ts";
import { decodeReadKey, encodeReadKey, readKeyOf, readKeyText } from "../../../protocol/seal/read-key.ts";
import { logHolds, parseReceipt, receiptOf, receiptText } from "../../../protocol/seal/receipt.ts";
import { fromRecoveryForm, looksLikeRecoveryForm, recoveryForm } from "../../../protocol/seal/recovery.ts";
import { archive, group, known, master, volume } from "./known.ts";

function codeOf(run: () => unknown): string {
  try {
    run();
    return "ok";
  } catch (error) {
    if (error instanceof FormatError) return error.code;
    throw error;
  }
}
/** Every text that differs from `text` in one character, hyphens and line ends left alone. */
function* mistyped(text: string): Generator<string> {
  for (let i = 0; i < text.length; i++) {
    if (!/\w/.test(text[i] ?? "")) continue;
    for (const other of "07ZV") {
      if (other !== text[i]) yield text.slice(0, i) + other + text.slice(i + 1);
    }
  }
}

test("base 32 gives back what it was given, in any case and with look-alikes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const text = toBase32(bytes);
      expect(fromBase32(text)).toEqual(bytes);
      const sloppy = text.toLowerCase().replaceAll("0", "o").replaceAll("1", "l");
      expect(fromBase32(sloppy.replaceAll(/(.{3})/g, "$1-"))).toEqual(bytes);
    }),
  );
  expect(fromBase32("U")).toBeUndefined();
});

describe("the recovery form", () => {
  const text = known("recovery-form").text("text");

  test("is what the independent computation says, and gives the key back", () => {
    expect(recoveryForm(master)).toBe(text);
    expect(fromRecoveryForm(text)).toEqual(master);
    expect(fromRecoveryForm(` ${text.toLowerCase().replaceAll("-", " ")}\n`)).toEqual(master);
    expect(fromRecoveryForm(text.replace(/^((.{4}-){6}.{4})-/, "$1\n"))).toEqual(master);
    expect(text).toHaveLength(69);
  });

  test("is told from a passphrase, and a slip of the pen from another key", () => {
    expect(looksLikeRecoveryForm(text)).toBe(true);
    expect(looksLikeRecoveryForm("correct horse battery staple")).toBe(false);
    expect(looksLikeRecoveryForm("a".repeat(56))).toBe(false);
    for (const wrong of mistyped(text)) {
      expect(looksLikeRecoveryForm(wrong)).toBe(true);
      expect(codeOf(() => fromRecoveryForm(wrong))).toBe("bad-digest");
    }
  });
});

describe("the read key", () => {
  const vector = known("read-key");
  const key = readKeyOf(master, { archive, volume, group });

  test("is what the independent computation says, as bytes and as text", () => {
    expect(encodeReadKey(key)).toEqual(vector.bytes("bytes"));
    expect(readKeyText(key)).toBe(vector.text("text"));
    for (const form of [vector.bytes("bytes"), Buffer.from(`${vector.text("text")}\n`)]) {
      expect(decodeReadKey(form)).toEqual(key);
    }
    expect(key.metaKey).toEqual(volumeKey(master, archive, volume));
    expect(key.groupKey).toEqual(groupKey(master, archive, group));
  });

  test("is refused with a character or byte wrong, cut, or of something else", () => {
    for (const wrong of mistyped(vector.text("text"))) {
      expect(codeOf(() => decodeReadKey(Buffer.from(wrong)))).not.toBe("ok");
    }
    const bytes = vector.bytes("bytes");
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.slice();
      changed[at] = (changed[at] ?? 0) ^ 2;
      expect(codeOf(() => decodeReadKey(changed))).not.toBe("ok");
      expect(codeOf(() => decodeReadKey(bytes.subarray(0, at)))).not.toBe("ok");
    }
    expect(codeOf(() => decodeReadKey(Buffer.from(known("recovery-form").text("text"))))).toBe("bad-magic");
  });
});

describe("the receipt", () => {
  const vector = known("receipt");
  const generation = vector.number("generation") as Generation;

  test("is what the independent computation says", () => {
    const entry = logEntry(archiveKeys(master, archive), generation, vector.bytes("chain") as Digest);
    expect(Buffer.from(entry).toString("hex")).toBe(vector.text("entry"));
    expect(receiptText(receiptOf(generation, entry))).toBe(vector.text("text"));
    expect(parseReceipt(vector.text("text").toLowerCase())).toEqual(receiptOf(generation, entry));
  });

  test("is in the log that it was taken from, and in no other", () => {
    const logs = fc.integer({ min: 1, max: 20 }).chain((entries) => {
      const length = entries * 8;
      return fc.uint8Array({ minLength: length, maxLength: length });
    });
    fc.assert(
      fc.property(logs, fc.nat(), fc.nat(54), (log, at, bit) => {
        const before = (at % (log.length / 8)) * 8;
        const number = (before / 8 + 1) as Generation;
        const receipt = parseReceipt(receiptText(receiptOf(number, log.subarray(before, before + 8))));
        expect(logHolds({ log }, receipt)).toBe(true);
        const forged = log.slice();
        forged[before + (bit >> 3)] = (forged[before + (bit >> 3)] ?? 0) ^ (0x80 >> (bit & 7));
        expect(logHolds({ log: forged }, receipt)).toBe(false);
        expect(logHolds({ log: log.subarray(0, before) }, receipt)).toBe(false);
      }),
    );
  });

  test("shows most slips of the pen", () => {
    let missed = 0;
    let all = 0;
    for (const wrong of mistyped(vector.text("text"))) {
      all++;
      const code = codeOf(() => parseReceipt(wrong));
      if (code === "ok") missed++;
    }
    // Five bits of check: one in 32.
    expect(missed / all).toBeLessThan(0.15);
  });
});
