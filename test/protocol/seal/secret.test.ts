// What a person types, taken as a recovery form, as a passphrase, or as both (docs/keys.md, K4).

import { expect, test } from "vitest";
import { type ArchiveHeader, archiveHeaderMacInput } from "../../../protocol/archive/archive-header.ts";
import type { Mac } from "../../../protocol/archive/types.ts";
import { archiveKeys, macOf } from "../../../protocol/seal/keys.ts";
import { looksLikeRecoveryForm, recoveryForm } from "../../../protocol/seal/recovery.ts";
import { masterFromSecret } from "../../../protocol/seal/secret.ts";
import { makeSlot } from "../../../protocol/seal/slot.ts";
import { archive, master } from "./known.ts";

const looksLikeOne = "correct horse battery staple river window garden yellow monk iron";

function headerWith(...passphrases: readonly string[]): ArchiveHeader {
  const fields = {
    uuid: archive,
    chunkSize: 64 * 1024,
    compression: "zstd",
    level: 3,
    sealed: true,
    createdAt: 0,
    idSeed: new Uint8Array(32),
    slots: passphrases.map((each) => makeSlot(master, each, archive, { logN: 10 })),
    mac: new Uint8Array(32) as Mac,
  } as const;
  return { ...fields, mac: macOf(archiveKeys(master, archive).header, archiveHeaderMacInput(fields)) };
}

test("a passphrase that looks like a recovery form opens its slot", () => {
  expect(looksLikeRecoveryForm(looksLikeOne)).toBe(true);
  expect(masterFromSecret(headerWith("another passphrase", looksLikeOne), looksLikeOne)).toEqual(master);
});

test("so does one that is the form of another key", () => {
  const form = recoveryForm(master.map((byte) => byte ^ 1));
  expect(masterFromSecret(headerWith(form), form)).toEqual(master);
  expect(masterFromSecret(headerWith("another passphrase"), form)).toBeUndefined();
});

test("what opens nothing is a mistyped form where it looks like one", () => {
  const header = headerWith("another passphrase");
  expect(masterFromSecret(header, recoveryForm(master))).toEqual(master);
  expect(() => masterFromSecret(header, looksLikeOne)).toThrow(/recovery form: a character is wrong/);
  expect(() => masterFromSecret(header, recoveryForm(master).replace(/.$/, "U"))).toThrow(/no U in it/);
  expect(masterFromSecret(header, "one passphrase more")).toBeUndefined();
});
