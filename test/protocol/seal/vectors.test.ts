// The known answers are what the script computes that shares no code with protocol/, and the two that are authenticated and
// not sealed: the archive's header and a head (archive-format.md, F11, F13 to F15).

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import {
  archiveHeaderMacInput,
  decodeArchiveHeader,
  encodeArchiveHeader,
} from "../../../protocol/archive/archive-header.ts";
import { chainOf, decodeHead, encodeHead, headMacInput } from "../../../protocol/archive/head.ts";
import type { Generation } from "../../../protocol/archive/types.ts";
import { concatBytes } from "../../../protocol/bytes.ts";
import { archiveKeys, logEntry, macOf } from "../../../protocol/seal/keys.ts";
import { isMasterOf, masterFromSecret } from "../../../protocol/seal/secret.ts";
import { tempDir } from "../../support/temp-dir.ts";
import { archive, known, master } from "./known.ts";

const script = fileURLToPath(new URL("../vectors/seal-vectors.py", import.meta.url));
const sealed = fileURLToPath(new URL("../../../protocol/vectors/sealed/", import.meta.url));
const python = spawnSync("python3", ["-c", "import cryptography"]).status === 0;
const keys = archiveKeys(master, archive);

test.skipIf(!python)(
  python
    ? "the script makes these files"
    : "the script makes these files: no python3 with the package cryptography here",
  () => {
    using directory = tempDir();
    const made = spawnSync("python3", [script, directory.path], { encoding: "utf8" });
    expect(made.stderr).toBe("");
    expect(readdirSync(directory.path).sort()).toEqual(readdirSync(sealed).sort());
    for (const name of readdirSync(sealed))
      expect(readFileSync(join(directory.path, name), "utf8"), name).toBe(
        readFileSync(join(sealed, name), "utf8"),
      );
  },
);

test("an archive header's MAC", () => {
  const vector = known("archive-header");
  const header = decodeArchiveHeader(vector.bytes("bytes"));
  expect(encodeArchiveHeader(header)).toEqual(vector.bytes("bytes"));
  expect(macOf(keys.header, archiveHeaderMacInput(header))).toEqual(vector.bytes("mac"));
  expect(header.mac).toEqual(vector.bytes("mac"));
  expect(isMasterOf(header, master)).toBe(true);
  expect(isMasterOf({ ...header, level: header.level + 1 }, master)).toBe(false);
  expect(masterFromSecret(header, known("slot").text("passphrase"))).toEqual(master);
});

test("a head's MAC, chain and log", () => {
  const vector = known("head");
  const head = decodeHead(vector.bytes("bytes"));
  expect(encodeHead(head)).toEqual(vector.bytes("bytes"));
  expect(macOf(keys.head, headMacInput(head))).toEqual(vector.bytes("mac"));
  expect(head.mac).toEqual(vector.bytes("mac"));
  expect(chainOf(archive, head.generation, head.previousChain, head)).toEqual(vector.bytes("chain"));
  const entries = [head.previousChain, head.chain].map((chain, i) =>
    logEntry(keys, generation(i + 1), chain),
  );
  expect(concatBytes(entries)).toEqual(head.log);
});

const generation = (n: number): Generation => n as Generation;
