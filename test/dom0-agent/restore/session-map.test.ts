// The map of a session against a model of bytes: random sessions of a volume that grows and shrinks, more of them than are
// merged at once, chunks shared with another volume.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { randomBytesOf } from "../../../bench/image.ts";
import { findSession } from "../../../dom0-agent/restore/find-session.ts";
import { mappedBytes } from "../../../dom0-agent/restore/mapped-bytes.ts";
import { type SessionMap, sessionMap } from "../../../dom0-agent/restore/session-map.ts";
import { AgentError } from "../../../dom0-agent/errors.ts";
import { readIndex } from "../../../dom0-agent/archive/archive.ts";
import { chunkIdOf, publicIdKey } from "../../../protocol/archive/chunk-id.ts";
import { equalBytes } from "../../../protocol/bytes.ts";
import { createTestArchive, type TestArchive } from "../../support/archive-writer.ts";
import { type OpenedTestArchive, openTestArchive } from "../../support/open-test-archive.ts";
import { tempDir } from "../../support/temp-dir.ts";

const chunkSize = 65_536;

function opened(archive: TestArchive, directory: string): OpenedTestArchive["open"] {
  const state = join(directory, "state");
  mkdirSync(state, { recursive: true });
  return openTestArchive(archive, state).open;
}

async function indexOf(
  open: OpenedTestArchive["open"],
  name: string,
): Promise<Parameters<typeof sessionMap>[1]> {
  for (const { volume } of open.head.volumes) {
    const index = await readIndex(open, volume);
    if (index?.name === name) return index;
  }
  throw new Error(`no ${name}`);
}

/** The map says of every chunk of `image` what it is. */
function checkMap(map: SessionMap, image: Uint8Array, idKey: Uint8Array): void {
  let at = 0;
  let dataBytes = 0;
  for (const { entry, address, run } of map.steps()) {
    expect(address).toBe(at * chunkSize);
    for (let i = 0; i < run; i++, at++) {
      const plain = image.subarray(at * chunkSize, (at + 1) * chunkSize);
      const isHole = plain.every((byte) => byte === 0);
      expect(entry?.kind === "chunk", `chunk ${at}`).toBe(!isHole);
      if (entry?.kind !== "chunk") continue;
      dataBytes += plain.length;
      expect(equalBytes(entry.id, chunkIdOf(idKey, plain)), `chunk ${at}`).toBe(true);
      expect(map.containers[entry.container - 1]).toBeDefined();
    }
  }
  expect(at).toBe(Math.ceil(image.length / chunkSize));
  expect(map.dataBytes).toBe(dataBytes);
}

describe("the map of a session", () => {
  test("of any of 130 sessions, whatever came before and after it", async () => {
    using directory = tempDir();
    const archive = createTestArchive(join(directory.path, "archive"), { shared: true });
    const random = randomBytesOf(11);
    const pick = (below: number): number => random(4).readUInt32BE() % below;
    archive.send({ other: Buffer.concat([random(3 * chunkSize), Buffer.alloc(chunkSize)]) });
    const images: Buffer[] = [];
    let image = Buffer.alloc(10 * chunkSize);
    for (let i = 0; i < 130; i++) {
      if (i % 9 === 4) {
        const next = Buffer.alloc(4 * chunkSize + pick(8 * chunkSize));
        image.copy(next);
        image = next;
      }
      for (let n = 0; n < 3; n++) {
        const start = pick(Math.ceil(image.length / chunkSize)) * chunkSize;
        const length = Math.min((1 + pick(4)) * chunkSize, image.length - start);
        // Equal chunks side by side make runs; zeros make holes.
        const content = n === 0 ? Buffer.alloc(length) : Buffer.alloc(length, random(32));
        content.copy(image, start);
      }
      archive.send({ work: image });
      images.push(Buffer.from(image));
    }
    const open = opened(archive, directory.path);
    const index = await indexOf(open, "work");
    const idKey = publicIdKey(open.record.idSeed, open.record.uuid, index.group);
    for (const number of [0, 1, 63, 64, 65, 128, 129]) {
      const session = findSession(index, index.containers[number]?.name);
      using map = await sessionMap(open, index, session);
      checkMap(map, images[number] ?? Buffer.alloc(0), idKey);
    }
  });

  test("manifests that don't make the map root: integrity, and so is one that is missing", async () => {
    using directory = tempDir();
    const archive = createTestArchive(join(directory.path, "archive"));
    const random = randomBytesOf(3);
    archive.send({ work: random(4 * chunkSize) });
    // It leaves a change out.
    archive.send({ work: random(4 * chunkSize) }, { alterEntries: (entries) => entries.slice(1) });
    const open = opened(archive, directory.path);
    const index = await indexOf(open, "work");
    await expect(sessionMap(open, index, findSession(index, undefined))).rejects.toThrow(
      /do not make the session's map root/,
    );
    const [first] = archive.sessionsOf("work");
    using map = await sessionMap(open, index, findSession(index, first?.name));
    expect(map.dataBytes).toBe(4 * chunkSize);
    const manifest = join(first?.path ?? "", `manifest.${first?.generation ?? 0}`);
    const bytes = readFileSync(manifest);
    bytes[80] = (bytes[80] ?? 0) ^ 1;
    writeFileSync(manifest, bytes);
    const damaged = sessionMap(open, index, findSession(index, first?.name));
    await expect(damaged).rejects.toThrow(AgentError);
    await expect(damaged).rejects.toMatchObject({ reason: "integrity" });
  });

  test("what it maps, in pieces of other sizes", async () => {
    using directory = tempDir();
    const archive = createTestArchive(join(directory.path, "archive"));
    const image = Buffer.alloc(10 * chunkSize + 100);
    image.fill(1, 0, 10);
    image.fill(2, 5 * chunkSize, 7 * chunkSize);
    image.fill(3, 10 * chunkSize);
    archive.send({ work: image });
    const open = opened(archive, directory.path);
    const index = await indexOf(open, "work");
    using map = await sessionMap(open, index, findSession(index, undefined));
    expect(mappedBytes(map, 4096)).toBe(3 * chunkSize + 4096);
    // Chunks 0, 5, 6 and 10, four to a piece.
    expect(mappedBytes(map, 4 * chunkSize)).toBe(3 * 4 * chunkSize);
    const wanted = { length: 11, bytes: Uint8Array.from([0b0100_0000, 0]) };
    expect(mappedBytes(map, 4096, wanted)).toBe(chunkSize);
  });
});
