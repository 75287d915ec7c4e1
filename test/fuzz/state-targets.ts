// What dom0 reads of its own making: delta map, journal, chunk table, id map. A reader takes what would be written so, byte
// for byte, or says that it is damaged; half of the time the checksums fit again, so that what is behind them is read.

import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { bitmap, setRange } from "../../dom0-agent/delta/bitmap.ts";
import { makeDirectory } from "../../dom0-agent/state/writing.ts";
import {
  createTable,
  DamagedTableError,
  entriesOf,
  findChunk,
  openTable,
  pageBytes,
} from "../../dom0-agent/state/chunk-table.ts";
import { readDeltaMap, writeDeltaMap } from "../../dom0-agent/state/delta-map.ts";
import { openIdMap } from "../../dom0-agent/state/id-map.ts";
import { createJournal, journalIdentity, readJournal } from "../../dom0-agent/state/journal.ts";
import { stateLayout } from "../../dom0-agent/state/layout.ts";
import { DamagedStateError } from "../../dom0-agent/state/record.ts";
import { groupCount, mapRootBuilder } from "../../protocol/archive/map-root.ts";
import type {
  ArchiveUuid,
  ChunkAddress,
  ChunkId,
  Digest,
  GroupId,
  SessionUid,
  VolumeId,
} from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { mutate } from "./mutate.ts";
import { Finding, bytesAt, inDirectory, orDamaged, type Target } from "./target.ts";

const chunkSize = 65_536;
const ids = {
  archive: filled(16, 1) as ArchiveUuid,
  volume: filled(16, 2) as VolumeId,
  session: filled(16, 3) as SessionUid,
  group: filled(16, 4) as GroupId,
};

export function stateTargets(): readonly Target[] {
  return [deltaMap(), journal(), chunkTable(), idMap()];
}

function deltaMap(): Target {
  return inDirectory("delta map", (directory) => {
    const [path, again] = [join(directory, "delta"), join(directory, "again")];
    const corpus = [1, 8, 13, 1000].map((chunks) => {
      const bits = bitmap(chunks);
      setRange(bits, chunks / 2, chunks);
      writeDeltaMap(path, {
        archive: ids.archive,
        volume: ids.volume,
        base: ids.session,
        baseMapRoot: filled(32, 9) as Digest,
        chunkSize,
        size: chunks * chunkSize - 5,
        poolUuid: "pool-uuid",
        snapshotUuid: "",
        thinId: chunks,
        bits,
      });
      return bytesAt(path);
    });
    return (random) => {
      const mutant = mutate(random, random.pick(corpus), corpus);
      if (random.once(2)) sign(mutant);
      writeFileSync(path, mutant);
      const found = orDamaged("delta map", mutant, DamagedStateError, () => readDeltaMap(path));
      if (found === undefined) return;
      writeDeltaMap(again, found);
      if (!equalBytes(bytesAt(again), mutant))
        throw new Finding(`delta map: read ${toHex(mutant)} as ${toHex(bytesAt(again))}`);
    };
  });
}

/** Whose it is, and its records up to the first that is none: written again, they are the beginning of the file. */
function journal(): Target {
  const [headBytes, recordBytes] = [92, 80];
  return inDirectory("journal", (directory) => {
    const [path, again] = [join(directory, "journal"), join(directory, "again")];
    const corpus = [0, 1, 5].map((chunks) => {
      using made = createJournal(path, { ...ids, size: 2 ** 40 + chunks, chunkSize });
      made.add(Array.from({ length: chunks }, (_, i) => chunkAt(i * chunkSize * 3)));
      return bytesAt(path);
    });
    return (random) => {
      const mutant = mutate(random, random.pick(corpus), corpus);
      if (random.once(2)) {
        sum(mutant.subarray(0, headBytes));
        for (let at = headBytes; at + recordBytes <= mutant.length; at += recordBytes)
          sum(mutant.subarray(at, at + recordBytes));
      }
      writeFileSync(path, mutant);
      const found = readWith("journal", mutant, () => ({
        of: journalIdentity(path),
        entries: [...readJournal(path)],
      }));
      if (found.of === undefined) return;
      {
        using made = createJournal(again, found.of);
        made.add(found.entries.map((each) => ({ ...chunkAt(each.address), ...each })));
      }
      const written = bytesAt(again);
      if (!equalBytes(written, mutant.subarray(0, written.length)))
        throw new Finding(`journal: read ${toHex(mutant)} as ${toHex(written)}`);
    };
  });
}

/** Entries and look-ups of a table agree, or it says that a page is damaged. */
function chunkTable(): Target {
  const pages = 3;
  return inDirectory("chunk table", (directory) => {
    const path = join(directory, "table");
    const corpus = [0, 40, 140].map((entries) => {
      using table = createTable(path, pages * 36);
      for (let i = 0; i < entries; i++)
        table.add(idOf(i), { ...chunkAt(i * chunkSize), container: i, storedAddress: 0 as ChunkAddress });
      table.flush();
      return bytesAt(path);
    });
    const page = new Uint8Array(pageBytes);
    return (random) => {
      const mutant = mutate(random, random.pick(corpus), corpus);
      if (random.once(2))
        for (let at = 0; at + pageBytes <= mutant.length; at += pageBytes)
          sum(mutant.subarray(at, at + pageBytes));
      writeFileSync(path, mutant);
      using table = openTable(path, pages, 0);
      const entries = orDamaged("chunk table", mutant, DamagedTableError, () =>
        [...entriesOf(table.file)].map((each) => ({ ...each, id: each.id.slice() })),
      );
      const rounded = entries?.find(({ place }) => !Number.isSafeInteger(place.storedAddress));
      if (rounded !== undefined)
        throw new Finding(`chunk table: ${rounded.place.storedAddress} is no address, in ${toHex(mutant)}`);
      for (const id of [idOf(0), idOf(139), ...(entries ?? []).slice(0, 3).map((each) => each.id)]) {
        const found = orDamaged("chunk table", mutant, DamagedTableError, () =>
          findChunk(table.file, id, page),
        );
        if (found === undefined) continue;
        const isThere = entries?.some(
          (each) => equalBytes(each.id, id) && equalBytes(each.place.checksum, found.checksum),
        );
        if (isThere === false)
          throw new Finding(`chunk table: ${toHex(id)} is found, and no entry, in ${toHex(mutant)}`);
      }
    };
  });
}

/** A map that opens and whose groups fit is the one that its stamp's root says. */
function idMap(): Target {
  return inDirectory("id map", (directory) => {
    const paths = stateLayout(directory).archive("a").volume(ids.volume);
    makeDirectory(paths.directory);
    const files = [paths.stamp, paths.groups, paths.ids];
    const corpus = [1, 20].map((chunks, sequence) => {
      const size = chunks * chunkSize - 7;
      using map = openIdMap(paths);
      const { groups, mapRoot } = map.after([{ start: 0, count: 1, id: idOf(chunks) }], size, chunkSize);
      map.apply([{ start: 0, count: 1, id: idOf(chunks) }], groups, {
        session: ids.session,
        sequence,
        size,
        chunkSize,
        mapRoot,
      });
      return files.map(bytesAt);
    });
    return (random) => {
      const good = random.pick(corpus);
      const hit = random.below(files.length);
      const mutants = good.map((bytes, i) =>
        i === hit
          ? mutate(
              random,
              bytes,
              corpus.map((each) => each[i] ?? bytes),
            )
          : bytes,
      );
      if (hit === 0 && random.once(2)) mutants[0] = signedText(mutants[0] ?? new Uint8Array(0));
      for (const [i, path] of files.entries()) writeFileSync(path, mutants[i] ?? new Uint8Array(0));
      const input = mutants[hit] ?? new Uint8Array(0);
      orDamaged(`id map, file ${hit}`, input, DamagedStateError, () => {
        using map = openIdMap(paths);
        if (map.stamp === undefined) throw new Error("a stamp that is there is none");
        const { size, mapRoot } = map.stamp;
        map.verify(Array.from({ length: groupCount(size, map.stamp.chunkSize) }, (_, group) => group));
        const root = mapRootBuilder(size, map.stamp.chunkSize);
        for (let i = 0; i < map.chunks; i++) {
          const id = map.read(i, 1);
          root.add(id.every((byte) => byte === 0) ? undefined : id, 1);
        }
        if (!equalBytes(root.root(), mapRoot)) throw new Error("it has another root than its stamp says");
      });
    };
  });
}

function readWith<T>(what: string, input: Uint8Array, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new Finding(`${what}: ${String(error)} from ${toHex(input)}`, { cause: error });
  }
}

function filled(length: number, byte: number): Uint8Array {
  return new Uint8Array(length).fill(byte);
}

function idOf(i: number): ChunkId {
  return new Uint8Array(createHash("sha256").update(`id ${i}`).digest()) as ChunkId;
}

function chunkAt(address: number) {
  return {
    kind: "chunk",
    address: address as ChunkAddress,
    run: 1,
    id: idOf(address),
    container: 0,
    storedAddress: address as ChunkAddress,
    storedLength: 1 + (address % 1000),
    checksum: filled(32, 5) as Digest,
  } as const;
}

/** Puts the SHA-256 of all before it at the end. */
function sign(bytes: Uint8Array): void {
  if (bytes.length < 32) return;
  bytes.set(createHash("sha256").update(bytes.subarray(0, -32)).digest(), bytes.length - 32);
}

/** Puts the CRC-32 of all before it at the end. */
function sum(bytes: Uint8Array): void {
  if (bytes.length < 4) return;
  new DataView(bytes.buffer, bytes.byteOffset + bytes.length - 4, 4).setUint32(
    0,
    crc32(bytes.subarray(0, -4)),
  );
}

/** A record of JSON text with a digest that fits. */
function signedText(bytes: Uint8Array): Uint8Array {
  const text = `${Buffer.from(bytes).toString("utf8").split("\n")[0] ?? ""}\n`;
  return Buffer.from(`${text}${createHash("sha256").update(text).digest("hex")}\n`);
}
