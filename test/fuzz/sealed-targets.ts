// What is sealed, what keys are kept in, and what people type: all that is opened or decoded with a key, or to get one.
// What was damaged never opens as anything but what was sealed.

import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { chunkIdOf } from "../../protocol/archive/chunk-id.ts";
import { decodeIndex, decodeIndexContainers, encodeIndex } from "../../protocol/archive/index-file.ts";
import {
  encodeRecord,
  manifestWriter,
  openManifest,
  recordBytes,
  recordReader,
} from "../../protocol/archive/manifest.ts";
import { decodePrefix, prefixBytes, sha256 } from "../../protocol/archive/prefix.ts";
import { encodeSealable } from "../../protocol/archive/sealed-body.ts";
import { decodeSessionHeader, encodeSessionHeader } from "../../protocol/archive/session-header.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { concatBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { bareBase32 } from "../../protocol/seal/base32.ts";
import { chunkOpener, chunkSealer } from "../../protocol/seal/chunk-seal.ts";
import { fileOpener, fileSealer } from "../../protocol/seal/file-seal.ts";
import { openBytes, sealBytes } from "../../protocol/seal/gcm.ts";
import { groupKey, sealedIdKey } from "../../protocol/seal/keys.ts";
import { decodeReadKey, encodeReadKey, readKeyOf, readKeyText } from "../../protocol/seal/read-key.ts";
import { parseReceipt, receiptOf, receiptText } from "../../protocol/seal/receipt.ts";
import { fromRecoveryForm, looksLikeRecoveryForm, recoveryForm } from "../../protocol/seal/recovery.ts";
import { openChunk } from "../../protocol/seal/open-chunk.ts";
import { makeSlot, openSlot } from "../../protocol/seal/slot.ts";
import { zstdCompressSync } from "node:zlib";
import { structureValues } from "../protocol/arbitraries.ts";
import { archive, group, master, salt, volume } from "../protocol/seal/known.ts";
import type { WholeManifest } from "../protocol/structures.ts";
import { mutate } from "./mutate.ts";
import { Finding, orFormatError, type Target } from "./target.ts";

const corpusSize = 40;
const sealer = fileSealer(master, () => salt);
const opener = fileOpener(master);
const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const latin1Bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));

export function sealedTargets(seed: number): readonly Target[] {
  return [
    sealedFile(
      "sealed index",
      fc
        .sample(structureValues.index, { seed, numRuns: corpusSize })
        .map((value) => encodeIndex(value as never, sealer)),
      (bytes) => encodeIndex(decodeIndex(bytes, {}, opener), sealer),
    ),
    sealedFile(
      "sealed session header",
      fc
        .sample(structureValues["session-header"], { seed, numRuns: corpusSize })
        .map((value) => encodeSessionHeader(value as never, sealer)),
      (bytes) => encodeSessionHeader(decodeSessionHeader(bytes, {}, opener), sealer),
    ),
    sealedFile(
      "sealed manifest",
      (fc.sample(structureValues.manifest, { seed, numRuns: corpusSize }) as WholeManifest[]).map(
        sealManifest,
      ),
      // Whoever opens a manifest has compared its digest with the one that the index names before.
      (bytes) => {
        checkDigest(bytes);
        return sealManifest(readManifest(bytes));
      },
    ),
    publicIndex(seed),
    forgedBody(seed),
    segment(),
    chunk(true),
    chunk(false),
    readKey(),
    slot(),
    recovery(),
    receipt(),
  ];
}

function sealManifest(value: WholeManifest): Uint8Array {
  const records = new Uint8Array(value.entries.length * recordBytes);
  value.entries.forEach((entry, i) => encodeRecord(records, i * recordBytes, entry));
  const writer = manifestWriter(value, value, value.entries.length, sealer);
  const whole = concatBytes([...writer.parts([records])].map((each) => each.slice()));
  return concatBytes([whole, sha256(whole)]);
}

function readManifest(bytes: Uint8Array): WholeManifest {
  const prefix = decodePrefix(bytes);
  const source = {
    length: bytes.length,
    read: (into: Uint8Array, at: number) => into.set(bytes.subarray(at, at + into.length)),
  };
  const manifest = openManifest(source, {}, opener);
  const records = new Uint8Array(manifest.records * recordBytes);
  manifest.readRecords(records, 0);
  return { ...prefix, ...manifest, entries: recordReader(manifest).read(records) };
}

/** Files that were sealed, damaged, half of the time with a digest that fits again: none opens but those that are what was
 *  sealed. */
function sealedFile(
  name: string,
  corpus: readonly Uint8Array[],
  again: (untrusted: Uint8Array) => Uint8Array,
): Target {
  const sealed = new Set(corpus.map(latin1));
  return {
    name,
    feed: (random) => {
      const mutant = mutate(random, random.pick(corpus), corpus);
      if (random.once(2)) redigest(mutant);
      const found = orFormatError(name, mutant, () => again(mutant));
      if (found !== undefined && !sealed.has(latin1(mutant)))
        throw new Finding(`${name}: ${toHex(mutant)} was never sealed, and is read as ${toHex(found)}`);
      return 1;
    },
  };
}

/** What whoever has no key reads of an index: its containers. */
function publicIndex(seed: number): Target {
  const corpus = fc
    .sample(structureValues.index, { seed, numRuns: corpusSize })
    .map((value) => encodeIndex(value as never, sealer));
  return {
    name: "sealed index without a key",
    feed: (random) => {
      const mutant = mutate(random, random.pick(corpus), corpus);
      if (random.once(2)) redigest(mutant);
      orFormatError("sealed index without a key", mutant, () => decodeIndexContainers(mutant, {}));
      return 1;
    },
  };
}

/** Bodies that no honest writer makes, sealed by somebody who has the key: read as ever. */
function forgedBody(seed: number): Target {
  const values = fc.sample(structureValues["session-header"], { seed, numRuns: corpusSize });
  const bodies = values.map((value) => encodeSessionHeader(value as never).subarray(prefixBytes, -32));
  const of = { kind: "header", archive, volume, generation: 2 as Generation } as const;
  return {
    name: "forged body",
    feed: (random) => {
      const mutant = mutate(random, random.pick(bodies), bodies);
      const bytes = encodeSealable(of, new Uint8Array(0), mutant, sealer);
      const found = orFormatError("forged body", mutant, () =>
        encodeSessionHeader(decodeSessionHeader(bytes, {}, opener), sealer),
      );
      if (found !== undefined && !equalBytes(found, bytes))
        throw new Finding(`forged body: read ${toHex(mutant)} as another`);
      return 1;
    },
  };
}

function segment(): Target {
  const nonce = new Uint8Array(12);
  const texts = Array.from({ length: corpusSize }, (_, i) => new Uint8Array(i * 7).fill(i));
  const corpus = texts.map((text) => sealBytes(master, nonce, archive, text));
  return {
    name: "sealed segment",
    feed: (random) => {
      const at = random.below(corpus.length);
      const mutant = mutate(random, corpus[at]!, corpus);
      const found = orFormatError("sealed segment", mutant, () =>
        openBytes(master, nonce, archive, mutant, "segment"),
      );
      const which = corpus.findIndex((each) => equalBytes(each, mutant));
      if (found !== undefined && (which < 0 || !equalBytes(found, texts[which]!)))
        throw new Finding(`sealed segment: ${toHex(mutant)} opens`);
      return 1;
    },
  };
}

/** Stored chunks whose checksum fits, as that of a manifest made by somebody else would; and zstd frames that lie. */
function chunk(sealed: boolean): Target {
  const name = sealed ? "sealed chunk" : "unsealed chunk";
  const key = groupKey(master, archive, group);
  const idKey = sealedIdKey(key, archive);
  const seal = sealed ? chunkOpener(key, archive) : undefined;
  const sealing = chunkSealer(key, archive, () => salt);
  const plaintexts = Array.from({ length: corpusSize }, (_, i) => {
    const bytes = new Uint8Array(1 + i * 100);
    for (let at = 0; at < bytes.length; at++) bytes[at] = (at * i) & (i % 3 === 0 ? 255 : 3);
    return bytes;
  });
  const ids = plaintexts.map((each) => chunkIdOf(idKey, each));
  const corpus = plaintexts.map((plaintext, i) => {
    const frame = new Uint8Array(zstdCompressSync(plaintext));
    if (!sealed) return frame;
    const into = new Uint8Array(frame.length + 200);
    return into.slice(0, sealing.seal(ids[i]!, frame, into, 0));
  });
  return {
    name,
    feed: (random) => {
      const at = random.below(corpus.length);
      const mutant = mutate(random, corpus[at]!, corpus);
      const expected = {
        id: ids[at]!,
        checksum: createHash("sha256").update(mutant).digest(),
        storedLength: mutant.length,
        length: plaintexts[at]!.length,
      };
      const found = orFormatError(name, mutant, () => openChunk(mutant, expected, idKey, seal));
      if (found !== undefined && !equalBytes(found, plaintexts[at]!))
        throw new Finding(`${name}: ${toHex(mutant)} opens as ${toHex(found)}`);
      return 1;
    },
  };
}

function readKey(): Target {
  const key = readKeyOf(master, { archive, volume, group });
  const corpus = [encodeReadKey(key), latin1Bytes(readKeyText(key)), latin1Bytes(`${readKeyText(key)}\n`)];
  return {
    name: "read key",
    feed: (random) => {
      const mutant = mutate(random, random.pick(corpus), corpus);
      const found = orFormatError("read key", mutant, () => decodeReadKey(mutant));
      if (found === undefined) return 1;
      const spelled = [latin1(encodeReadKey(found)), bareBase32(readKeyText(found))];
      if (!spelled.includes(latin1(mutant)) && !spelled.includes(bareBase32(latin1(mutant))))
        throw new Finding(`read key: ${toHex(mutant)} is taken for another`);
      return 1;
    },
  };
}

/** A slot whose parts were exchanged or altered, and a passphrase that is right or nearly. */
function slot(): Target {
  const good = makeSlot(master, "passphrase", archive, { logN: 1 });
  const fields = ["salt", "nonce", "wrapped", "commitment"] as const;
  const others = fields.map((field) => good[field]);
  return {
    name: "slot",
    feed: (random) => {
      const field = random.pick(fields);
      const changed = mutate(random, good[field], others);
      const length = good[field].length;
      const value = changed.length === length ? changed : good[field];
      const passphrase = random.once(2)
        ? "passphrase"
        : latin1(mutate(random, latin1Bytes("passphrase"), others));
      const found = orFormatError("slot", changed, () =>
        openSlot({ ...good, [field]: value }, passphrase, archive),
      );
      if (found !== undefined && !equalBytes(found, master))
        throw new Finding(`slot: ${field} ${toHex(value)} opens to another key`);
      if (found !== undefined && !equalBytes(value, good[field]))
        throw new Finding(`slot: ${field} ${toHex(value)} opens`);
      return 1;
    },
  };
}

function recovery(): Target {
  const corpus = [latin1Bytes(recoveryForm(master)), latin1Bytes(recoveryForm(salted(master)))];
  return {
    name: "recovery form",
    feed: (random) => {
      const mutant = mutate(random, random.pick(corpus), corpus);
      const text = latin1(mutant);
      const looks = looksLikeRecoveryForm(text);
      const found = orFormatError("recovery form", mutant, () => fromRecoveryForm(text));
      if (found !== undefined && bareBase32(recoveryForm(found)) !== bareBase32(text))
        throw new Finding(`recovery form: «${text}» is taken for another (${looks ? "looks like one" : ""})`);
      return 1;
    },
  };
}

function receipt(): Target {
  const corpus = [1, 77, 2 ** 20 - 1].map((generation) =>
    latin1Bytes(receiptText(receiptOf(generation as Generation, salted(master)))),
  );
  return {
    name: "receipt",
    feed: (random) => {
      const mutant = mutate(random, random.pick(corpus), corpus);
      const text = latin1(mutant);
      const found = orFormatError("receipt", mutant, () => parseReceipt(text));
      if (found !== undefined && bareBase32(receiptText(found)) !== bareBase32(text))
        throw new Finding(`receipt: «${text}» is taken for another`);
      return 1;
    },
  };
}

function salted(bytes: Uint8Array): Uint8Array {
  return sha256(bytes);
}

function checkDigest(bytes: Uint8Array): void {
  if (!equalBytes(sha256(bytes.subarray(0, -32)), bytes.subarray(-32)))
    throw new FormatError("bad-digest", "its digest does not fit");
}

function redigest(bytes: Uint8Array): void {
  if (bytes.length >= 32) bytes.set(sha256(bytes.subarray(0, -32)), bytes.length - 32);
}
