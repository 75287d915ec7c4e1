import { execFileSync } from "node:child_process";
import { closeSync, readFileSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  decodeOffsetRecord,
  decodeOffsetsFooter,
  decodeOffsetsHead,
  footerBytes,
  footerOffset,
  offsetRecordBytes,
  offsetsHeadBytes,
  tarTrailerBytes,
} from "../../../protocol/archive/tar-layout.ts";
import { sha256 } from "../../../protocol/archive/prefix.ts";
import type {
  ArchiveUuid,
  ChunkAddress,
  Generation,
  SessionName,
  SessionUid,
  VolumeId,
} from "../../../protocol/archive/types.ts";
import { openAbsolute } from "../../../vm-receiver/directory.ts";
import { tarStore } from "../../../vm-receiver/store/tar/tar-store.ts";
import { storeSuite } from "../../suites/store.ts";
import { tempDir } from "../../support/temp-dir.ts";

/** GNU tar's opinion of what is in the file. */
function extract(tar: string): ReadonlyMap<string, Uint8Array> {
  const names = execFileSync("tar", ["-tf", tar], { encoding: "utf8" }).trim().split("\n");
  using directory = tempDir();
  execFileSync("tar", ["-xf", tar, "-C", directory.path]);
  return new Map(names.map((name) => [name, new Uint8Array(readFileSync(join(directory.path, name)))]));
}

storeSuite(tarStore, (volume, name) => {
  const chunks = [...extract(join(volume, `${name}.tar`))].filter(([path]) => /\/x[0-9a-f]{16}$/.test(path));
  return new Map(chunks.map(([path, bytes]) => [Number.parseInt(path.slice(-16), 16), bytes]));
});

describe("the tar itself", () => {
  const session = {
    archive: new Uint8Array(randomBytes(16)) as ArchiveUuid,
    volume: new Uint8Array(randomBytes(16)) as VolumeId,
    session: new Uint8Array(randomBytes(16)) as SessionUid,
    generation: 3 as Generation,
    name: "S_20261123-101500" as SessionName,
    chunkSize: 65_536,
    size: 2 ** 40,
  };
  const path = "S_20261123-101500.tar";

  async function make(directory: string): Promise<Uint8Array> {
    using volume = openAbsolute(directory);
    using writer = await tarStore.begin(volume, session);
    for (const index of [0, 1, 9000]) {
      const bytes = randomBytes(600 * (index + 1) > 60_000 ? 60_000 : 600 * (index + 1));
      writer.writeChunk((index * 65_536) as ChunkAddress, bytes, sha256(bytes));
    }
    for (const file of ["header", "manifest"] as const) {
      const fd = writer.createMeta(file);
      writeSync(fd, randomBytes(1000));
      closeSync(fd);
    }
    writer.endList();
    await writer.publish();
    return new Uint8Array(readFileSync(join(directory, path)));
  }

  test("GNU tar lists members in the order of the format, with mode, owner and the session's time", async () => {
    using directory = tempDir();
    await make(directory.path);
    const lines = execFileSync(
      "tar",
      ["--utc", "--numeric-owner", "--full-time", "-tvf", join(directory.path, path)],
      {
        encoding: "utf8",
      },
    )
      .trim()
      .split("\n");
    expect(lines.map((line) => line.split(/\s+/).at(-1))).toEqual([
      "S_20261123-101500/000000000/x0000000000000000",
      "S_20261123-101500/000000000/x0000000000010000",
      "S_20261123-101500/000000002/x0000000023280000",
      "S_20261123-101500/manifest.3",
      "S_20261123-101500/header",
      "S_20261123-101500/list",
      "S_20261123-101500/offsets",
    ]);
    for (const line of lines) expect(line).toMatch(/^-rw------- 0\/0 +\d+ 2026-11-23 10:15:00 /);
  });

  test("it ends with its footer and 1024 zero bytes, and every offset leads to the chunk's bytes", async () => {
    using directory = tempDir();
    const tar = await make(directory.path);
    expect(tar.subarray(-tarTrailerBytes).every((byte) => byte === 0)).toBe(true);
    const at = footerOffset(tar.length);
    const footer = decodeOffsetsFooter(tar.slice(at, at + footerBytes), tar.length);
    expect(footer).toMatchObject({ records: 3, manifestGeneration: 3, manifest: { length: 1000 } });
    const memberAt = footer.recordsOffset - offsetsHeadBytes;
    expect(decodeOffsetsHead(tar.subarray(memberAt, memberAt + offsetsHeadBytes), session)).toMatchObject({
      session: session.session,
    });
    const member = tar.subarray(memberAt, at + footerBytes);
    expect(sha256(member.subarray(0, -32))).toEqual(footer.digest);

    const extracted = extract(join(directory.path, path));
    for (let i = 0; i < footer.records; i++) {
      const { address, offset } = decodeOffsetRecord(tar, footer.recordsOffset + i * offsetRecordBytes);
      const hex = address.toString(16).padStart(16, "0");
      const bytes = extracted.get(`S_20261123-101500/${hex.slice(0, 9)}/x${hex}`)!;
      expect(Buffer.compare(tar.subarray(offset, offset + bytes.length), bytes)).toBe(0);
    }
    for (const [file, place] of [
      ["manifest.3", footer.manifest],
      ["header", footer.header],
      ["list", footer.list],
    ] as const) {
      const bytes = extracted.get(`S_20261123-101500/${file}`)!;
      expect(Buffer.compare(tar.subarray(place.offset, place.offset + place.length), bytes)).toBe(0);
    }
  });

  test("the footer's reader takes no tar that was cut, and no place outside of it", async () => {
    using directory = tempDir();
    const tar = await make(directory.path);
    const at = footerOffset(tar.length);
    const block = tar.slice(at, at + footerBytes);
    expect(() => footerOffset(tar.length - 7)).toThrow();
    expect(() => footerOffset(1024)).toThrow();
    expect(() => decodeOffsetsFooter(block.subarray(1), tar.length)).toThrow();
    expect(() => decodeOffsetsFooter(block, tar.length - 512)).toThrow("footer begins");
    for (const field of [0, 8, 16, 24, 32, 40, 48, 56, 64, 72]) {
      const wrong = block.slice();
      wrong[field] = 0xff;
      expect(() => decodeOffsetsFooter(wrong, tar.length)).toThrow();
    }
    const dirty = block.slice();
    dirty[300] = 1;
    expect(() => decodeOffsetsFooter(dirty, tar.length)).toThrow("zero");
  });
});
