// From thin_delta's stretches to a volume's: what counts where sizes differ, and a tool that fails in the middle. The
// tool is a script here; the real one runs in the lab.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import {
  changedBetween,
  deltaSource,
  merged,
  type MetadataReader,
  thinDelta,
} from "../../../../dom0-agent/storage/lvm/deltas.ts";
import type { DeltaExtent, DeltaKind } from "../../../../dom0-agent/storage/lvm/thin-delta.ts";
import type { Extent } from "../../../../dom0-agent/delta/extent.ts";
import { type Snapshot, StorageError } from "../../../../dom0-agent/storage/storage.ts";
import { tempDir } from "../../../support/temp-dir.ts";

async function* from<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

const stretch = (kind: DeltaKind, offset: number, length: number): DeltaExtent => ({ kind, offset, length });
const snapshot = (thinId: number, size: number): Snapshot => ({
  uuid: `uuid-${thinId}`,
  thinId,
  volume: "v",
  label: "tick",
  name: "v.tick",
  size,
  readOnly: true,
  createdAt: 0,
});

async function delta(
  found: readonly DeltaExtent[],
  fromSize: number,
  toSize: number,
): Promise<readonly Extent[]> {
  const reader: MetadataReader = { compare: () => from(found) };
  const source = deltaSource(reader, () => undefined);
  return Array.fromAsync(source.between(snapshot(1, fromSize), snapshot(2, toSize)));
}

describe("between two snapshots", () => {
  test("what differs counts, what is the same does not, neighbours are one", async () => {
    const found = [
      stretch("same", 0, 10),
      stretch("different", 10, 5),
      stretch("left_only", 15, 5),
      stretch("same", 20, 5),
      stretch("right_only", 40, 10),
    ];
    expect(await delta(found, 100, 100)).toEqual([
      { offset: 10, length: 10 },
      { offset: 40, length: 10 },
    ]);
  });

  test("beyond the smaller end all that is mapped counts, but only there", async () => {
    const found = [stretch("same", 0, 60), stretch("same", 60, 40), stretch("right_only", 120, 10)];
    expect(await delta(found, 50, 130)).toEqual([
      { offset: 50, length: 50 },
      { offset: 120, length: 10 },
    ]);
  });

  test("what is past the end of the newer one is cut off", async () => {
    const found = [stretch("different", 0, 10), stretch("left_only", 45, 10), stretch("same", 55, 100)];
    expect(await delta(found, 200, 50)).toEqual([
      { offset: 0, length: 10 },
      { offset: 45, length: 5 },
    ]);
  });

  test("the end of what is read is reached even when all that counts was seen", async () => {
    const cutShort = async function* (): AsyncGenerator<DeltaExtent> {
      yield stretch("different", 0, 10);
      yield stretch("different", 500, 10);
      throw new StorageError("tool", "cut short");
    };
    await expect(Array.fromAsync(merged(changedBetween(cutShort(), 100), 100))).rejects.toThrow("cut short");
  });

  test("a snapshot that is not vouched for is not compared", async () => {
    const reader: MetadataReader = { compare: () => from([]) };
    const source = deltaSource(reader, ({ thinId }) => {
      if (thinId === 2) throw new StorageError("gone", "not vouched for");
    });
    await expect(Array.fromAsync(source.between(snapshot(1, 9), snapshot(2, 9)))).rejects.toThrow("vouched");
    await expect(Array.fromAsync(source.between(snapshot(2, 9), snapshot(1, 9)))).rejects.toThrow("vouched");
    await expect(Array.fromAsync(source.mapped(snapshot(2, 9)))).rejects.toThrow("vouched");
  });
});

describe("running thin_delta", () => {
  const before = process.env["SPARSEBAK_TOOL_PATH"];
  afterEach(() => {
    if (before === undefined) delete process.env["SPARSEBAK_TOOL_PATH"];
    else process.env["SPARSEBAK_TOOL_PATH"] = before;
  });
  const never = new AbortController().signal;

  /** The stretches that a script in thin_delta's place makes of devices 2 and 3. */
  async function compareWith(
    script: string | undefined,
    signal: AbortSignal = never,
  ): Promise<readonly DeltaExtent[]> {
    using place = tempDir();
    const tools = join(place.path, "tools");
    mkdirSync(tools);
    if (script !== undefined)
      writeFileSync(join(tools, "thin_delta"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    process.env["SPARSEBAK_TOOL_PATH"] = `${tools}:/bin`;
    const found = await Array.fromAsync(thinDelta("/dev/mapper/vg-pool_tmeta", 65_536, signal).compare(2, 3));
    return found;
  }
  const start = `echo '<superblock uuid="" data_block_size="128" nr_data_blocks="0">'; echo '<diff left="2" right="3">'`;
  const one = `echo '<different begin="0" length="1"/>'`;
  const end = "echo '</diff>'; echo '</superblock>'";

  test("asks for the metadata snapshot and both devices", async () => {
    const script = `[ "$*" = "-m --snap1 2 --snap2 3 /dev/mapper/vg-pool_tmeta" ] || exit 9; ${start}; ${one}; ${end}`;
    expect(await compareWith(script)).toEqual([{ kind: "different", offset: 0, length: 65_536 }]);
  });

  test("an answer that is complete but for the exit status is none", async () => {
    await expect(compareWith(`${start}; ${one}; ${end}; echo 'bad checksum' >&2; exit 1`)).rejects.toThrow(
      /exit status 1: bad checksum/,
    );
  });

  test("half an answer and a good exit status is none", async () => {
    await expect(compareWith(`${start}; ${one}; exit 0`)).rejects.toThrow(/ended too early/);
  });

  test("an answer of a tool that was killed is none", async () => {
    await expect(compareWith(`${start}; ${one}; ${end}; kill -9 $$`)).rejects.toThrow(/SIGKILL/);
  });

  test("errors that flood stderr neither fill memory nor block", async () => {
    const script = `echo first >&2; head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1`;
    await expect(compareWith(script)).rejects.toThrow(/exit status 1: first$/);
  });

  test("a missing tool is said, with what to install", async () => {
    await expect(compareWith(undefined)).rejects.toMatchObject({
      code: "tool",
      hint: expect.stringContaining("thin-provisioning-tools"),
    });
  });

  test("is killed when the run is aborted", async () => {
    const stop = new AbortController();
    const waiting = compareWith(`${start}; ${one}; exec sleep 1000`, stop.signal);
    setTimeout(() => stop.abort(), 200);
    await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
  });
});
