// Vectors of what is derived and stored nowhere by itself: chunk ids, map roots, log entries.

import { createHmac } from "node:crypto";
import { type Case, digestOf, ids, raw, u32, u64, hkdf, sha256, structureCase } from "./layout.ts";

const chunkSize = 131_072;
const seed = Buffer.from(digestOf("5e"), "hex");
const archive = Buffer.from(ids.archive, "hex");
const idKey = hkdf(
  seed,
  archive,
  Buffer.concat([Buffer.from("sparsebak chunk id v1"), Buffer.from(ids.group, "hex")]),
);
const plaintext = Buffer.from("the plaintext of a chunk");
const groupOf = (number: number, chunkIds: Buffer): string =>
  sha256(Buffer.concat([Buffer.from("sparsebak map group v1"), u64("", number)[1], chunkIds]));
const rootOf = (size: number, groups: string): string =>
  sha256(
    Buffer.concat([
      Buffer.from("sparsebak map root v1"),
      u64("", size)[1],
      u32("", chunkSize)[1],
      Buffer.from(groups, "hex"),
    ]),
  );
const id1 = digestOf("1d");
const id2 = digestOf("2d");
const smallMap = Buffer.from(ids.noDigest + id1 + id1, "hex");
const smallSize = 2 * chunkSize + 512;
const largeChunks = 2 * 4096 + 1;
const largeSize = largeChunks * chunkSize;
const secondGroup = Buffer.concat([Buffer.alloc(4095 * 32), Buffer.from(id2, "hex")]);
const master = Buffer.from(digestOf("99"), "hex");
const chain = digestOf("c0");
const logKey = hkdf(master, archive, Buffer.from("sparsebak log v1"));
export const derivedCases: readonly Case[] = [
  structureCase(
    "chunk-id",
    "public-seed",
    "ok",
    "The id of a chunk in an archive that is not sealed; the bytes are the plaintext.",
    [["plaintext", plaintext]],
    { idKey: idKey.toString("hex"), id: createHmac("sha256", idKey).update(plaintext).digest("hex") },
    { seed: seed.toString("hex"), archive: ids.archive, group: ids.group },
  ),
  structureCase(
    "map-root",
    "three-chunks",
    "ok",
    "A hole and two equal chunks, the last of them short; the bytes are the ids.",
    [["ids", smallMap]],
    { groups: [groupOf(0, smallMap)], root: rootOf(smallSize, groupOf(0, smallMap)) },
    { size: smallSize, "chunk-size": chunkSize },
  ),
  structureCase(
    "map-root",
    "three-groups",
    "ok",
    "Groups of holes have a digest of zeros; only the last chunk of the second group is none. The bytes are its id.",
    [["the id at chunk 8191", Buffer.from(id2, "hex")]],
    {
      groups: [ids.noDigest, groupOf(1, secondGroup), ids.noDigest],
      root: rootOf(largeSize, ids.noDigest + groupOf(1, secondGroup) + ids.noDigest),
    },
    { size: largeSize, "chunk-size": chunkSize, "first-chunk": 8191 },
  ),
  structureCase(
    "map-root",
    "empty",
    "ok",
    "A volume of no bytes.",
    [],
    { groups: [], root: rootOf(0, "") },
    { size: 0, "chunk-size": chunkSize },
  ),
  structureCase(
    "log-entry",
    "first",
    "ok",
    "The log entry of head 1; the bytes are its chain.",
    [raw("chain", chain)],
    {
      headerKey: hkdf(master, archive, Buffer.from("sparsebak archive header v1")).toString("hex"),
      headKey: hkdf(master, archive, Buffer.from("sparsebak head v1")).toString("hex"),
      logKey: logKey.toString("hex"),
      entry: createHmac("sha256", logKey)
        .update(u64("", 1)[1])
        .update(Buffer.from(chain, "hex"))
        .digest("hex")
        .slice(0, 16),
    },
    { master: master.toString("hex"), archive: ids.archive, generation: 1 },
  ),
];
