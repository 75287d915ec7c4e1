// Key slots (archive-format.md, F12).

import { describe, expect, test } from "vitest";
import type { KeySlot } from "../../../protocol/archive/archive-header.ts";
import type { ArchiveUuid } from "../../../protocol/archive/types.ts";
import { FormatError } from "../../../protocol/errors.ts";
import { makeSlot, openSlot } from "../../../protocol/seal/slot.ts";
import { archive, known, master } from "./known.ts";

const vector = known("slot");
const fixed = { logN: 12, salt: vector.bytes("salt"), nonce: vector.bytes("nonce") };
const passphrase = vector.text("passphrase");
const slot = makeSlot(master, passphrase, archive, fixed);

describe("a key slot", () => {
  test("is what the independent computation says", () => {
    expect(Buffer.from(slot.wrapped).toString("hex")).toBe(vector.text("wrapped"));
    expect(Buffer.from(slot.commitment).toString("hex")).toBe(vector.text("commitment"));
  });

  test("gives the key to its passphrase, however an accent was typed, and to no other", () => {
    expect(openSlot(slot, passphrase, archive)).toEqual(master);
    expect(openSlot(slot, vector.text("decomposed"), archive)).toEqual(master);
    expect(openSlot(slot, `${passphrase} `, archive)).toBeUndefined();
    expect(openSlot(slot, passphrase, new Uint8Array(16) as ArchiveUuid)).toBeUndefined();
  });

  test("costs 512 MiB unless a test is in a hurry", { timeout: 60_000 }, () => {
    const real = makeSlot(master, passphrase, archive);
    expect(real).toMatchObject({ logN: 19, r: 8, p: 1 });
    expect(openSlot(real, passphrase, archive)).toEqual(master);
  });

  test("opens to nothing with any of its bits changed", { timeout: 60_000 }, () => {
    const quick = makeSlot(master, passphrase, archive, { logN: 10 });
    for (const field of ["salt", "nonce", "wrapped", "commitment"] as const) {
      for (let at = 0; at < quick[field].length; at++) {
        const bytes = quick[field].slice();
        bytes[at] = (bytes[at] ?? 0) ^ 4;
        const changed: KeySlot = { ...quick, [field]: bytes };
        let found: Uint8Array | undefined;
        try {
          found = openSlot(changed, passphrase, archive);
        } catch (error) {
          expect(error).toBeInstanceOf(FormatError);
        }
        expect(found, `${field}, byte ${at}`).toBeUndefined();
      }
    }
  });
});
