// What a failed sync may have lost still reads well from memory, and the next sync has nothing to complain of: nobody may
// make a container of it. No drive here fails on demand, so fdatasync, write and writev are mocks that do, once; sync(1) is
// a script.

import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { sha256 } from "../../../protocol/archive/prefix.ts";
import type { ChunkAddress } from "../../../protocol/archive/types.ts";
import { type Directory, openAbsolute, openIfThere } from "../../../vm-receiver/directory.ts";
import { partIdentity } from "../../../vm-receiver/store/part.ts";
import type { SessionWriter, Store } from "../../../vm-receiver/store/store.ts";
import { stores } from "../../../vm-receiver/store/stores.ts";
import { tempDir } from "../../support/temp-dir.ts";
import { chunkSize, newSession as session } from "./new-session.ts";

const disk = vi.hoisted(() => ({ failures: 0, writeFailures: 0 }));

vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  const failing: typeof fs.fdatasync = ((fd: number, done: (error: Error | null) => void) => {
    if (disk.failures === 0) return fs.fdatasync(fd, done);
    disk.failures--;
    done(Object.assign(new Error("EIO: i/o error, fdatasync"), { code: "EIO" }));
  }) as never;
  const failingWrite =
    (write: (...args: never[]) => number) =>
    (...args: never[]): number => {
      if (disk.writeFailures === 0) return write(...args);
      disk.writeFailures--;
      throw Object.assign(new Error("EIO: i/o error, write"), { code: "EIO" });
    };
  const writeSync = failingWrite(fs.writeSync);
  const writevSync = failingWrite(fs.writevSync);
  return { ...fs, fdatasync: failing, writeSync, writevSync };
});

/** More than are synced one by one. */
const count = 80;

async function begun(store: Store, volume: Directory): Promise<SessionWriter> {
  const writer = await store.begin(volume, session);
  for (let i = 0; i < count; i++) {
    const bytes = new Uint8Array(randomBytes(100));
    writer.writeChunk((i * chunkSize) as ChunkAddress, bytes, sha256(bytes));
  }
  return writer;
}

const salvage = async (store: Store, volume: Directory): Promise<number> =>
  store.salvage(volume, {
    name: session.name,
    identity: session,
    chunkSize,
    isWhole: () => true,
    onBytes: () => undefined,
  });

function identity(store: Store, volume: Directory): unknown {
  using part = openIfThere(volume, store.partName(session.name));
  return part && partIdentity(part);
}

beforeEach(() => {
  vi.unstubAllEnvs();
  disk.failures = 0;
  disk.writeFailures = 0;
});

describe.each(["dir", "tar"] as const)("form %s", (form) => {
  const store = stores[form];

  /** The next sync fails, as it does after a write error; a second one would say that all is well. */
  const failOnce = (path: string): void => {
    if (form === "tar") {
      disk.failures = 1;
      return;
    }
    const tools = join(path, "tools");
    mkdirSync(tools);
    writeFileSync(join(tools, "sync"), "#!/bin/sh\necho 'Input/output error' >&2\nexit 1\n");
    chmodSync(join(tools, "sync"), 0o755);
    vi.stubEnv("SPARSEBAK_TOOL_PATH", tools);
  };

  test("a part whose syncs have not failed says whose it is", async () => {
    using directory = tempDir();
    using volume = openAbsolute(directory.path);
    (await begun(store, volume))[Symbol.dispose]();
    expect(identity(store, volume)).toMatchObject({ session: session.session });
  });

  test("after a checkpoint that failed the part says no longer whose it is", async () => {
    using directory = tempDir();
    using volume = openAbsolute(directory.path);
    using writer = await begun(store, volume);
    failOnce(directory.path);
    await expect(writer.checkpoint()).rejects.toThrow(/EIO|output error/);
    expect(identity(store, volume)).toBeUndefined();
  });

  test("nor after a write that failed", async () => {
    using directory = tempDir();
    using volume = openAbsolute(directory.path);
    using writer = await begun(store, volume);
    await writer.checkpoint();
    disk.writeFailures = 1;
    const bytes = new Uint8Array(randomBytes(100));
    const address = (count * chunkSize) as ChunkAddress;
    expect(() => writer.writeChunk(address, bytes, sha256(bytes))).toThrow(/EIO/);
    expect(identity(store, volume)).toBeUndefined();
  });

  test("nor after an end that failed", async () => {
    using directory = tempDir();
    using volume = openAbsolute(directory.path);
    using writer = await begun(store, volume);
    for (const file of ["header", "manifest"] as const) writeFileSync(writer.createMeta(file), file);
    writer.endList();
    failOnce(directory.path);
    await expect(writer.publish()).rejects.toThrow(/EIO|output error/);
    expect(identity(store, volume)).toBeUndefined();
  });

  test("nor after a salvage that failed", async () => {
    using directory = tempDir();
    using volume = openAbsolute(directory.path);
    const writer = await begun(store, volume);
    await writer.checkpoint();
    writer[Symbol.dispose]();
    failOnce(directory.path);
    await expect(salvage(store, volume)).rejects.toThrow(/EIO|output error/);
    expect(identity(store, volume)).toBeUndefined();
  });
});

test("a sync that did not come to its end says nothing, and the part stays what it was", async () => {
  const store = stores.dir;
  using directory = tempDir();
  using volume = openAbsolute(directory.path);
  using writer = await begun(store, volume);
  vi.stubEnv("SPARSEBAK_TOOL_PATH", join(directory.path, "nowhere"));
  await expect(writer.checkpoint()).rejects.toMatchObject({ code: "io" });
  expect(identity(store, volume)).toMatchObject({ session: session.session });
});
