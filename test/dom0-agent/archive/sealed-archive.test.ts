// Opening, making and joining archives through a real receiver, from the sources: what dom0 takes for sealed, and what it
// refuses to hand out (docs/security.md, S4 and S15; docs/keys.md, K10 to K12).

import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { encodeIndex, type VolumeIndex } from "../../../protocol/archive/index-file.ts";
import { encodePrefix, fileDigest, plainPrefix } from "../../../protocol/archive/prefix.ts";
import type { Generation, GroupId, VolumeId } from "../../../protocol/archive/types.ts";
import { concatBytes } from "../../../protocol/bytes.ts";
import { recoveryForm } from "../../../protocol/seal/recovery.ts";
import type { ArchiveSettings } from "../../../dom0-agent/config/settings.ts";
import { AgentError } from "../../../dom0-agent/errors.ts";
import { readMasterKey, writeMasterKey } from "../../../dom0-agent/keys/master-key.ts";
import { metaOf, noArchive, type OpenArchive } from "../../../dom0-agent/archive/archive.ts";
import { type Client, connect } from "../../../dom0-agent/archive/client.ts";
import type { Context } from "../../../dom0-agent/context.ts";
import { adoptArchive, masterFrom, untrustedArchive } from "../../../dom0-agent/archive/join-archive.ts";
import { changeSlots, listSlots } from "../../../dom0-agent/session/key.ts";
import { openArchive } from "../../../dom0-agent/archive/open-archive.ts";
import { readArchiveRecord } from "../../../dom0-agent/state/archive-record.ts";
import { type ArchivePaths, stateLayout } from "../../../dom0-agent/state/layout.ts";
import { localTransport } from "../../../dom0-agent/transport/local.ts";
import type { Service } from "../../../protocol/wire/messages.ts";
import { tempDir } from "../../support/temp-dir.ts";

const receiver = fileURLToPath(
  new URL("../../../vm-receiver/service/main.ts", import.meta.url),
) as `/${string}`;

class Place implements Disposable {
  readonly #directory = tempDir();
  readonly mountpoint: string = join(this.#directory.path, "target");
  readonly #ini: string = join(this.#directory.path, "receiver.ini");
  readonly settings: ArchiveSettings = {
    name: "default",
    destvm: "none",
    mountpoint: this.mountpoint,
    directory: "backups",
    encryption: undefined,
    chunkSize: 65_536,
    level: 3,
  } as ArchiveSettings;

  constructor() {
    mkdirSync(this.mountpoint);
    writeFileSync(this.#ini, `[receiver]\nplain-directories = ${this.mountpoint}\n`);
  }

  state(name: string): ArchivePaths {
    const paths = stateLayout(join(this.#directory.path, name)).archive("default");
    mkdirSync(paths.directory, { recursive: true });
    return paths;
  }

  async connect(service: Service): Promise<Client> {
    return connect({
      transport: localTransport({ receiver, settings: this.#ini }),
      service,
      where: { mountpoint: this.mountpoint, directory: "backups", archive: noArchive },
      stallSeconds: 30,
      signal: new AbortController().signal,
    });
  }

  /** What a command gets, for the state of that name. */
  context(name: string): Context {
    const settings = { startVm: false, stallSeconds: 30, receiverSettings: this.#ini };
    return {
      settings: settings as unknown as Context["settings"],
      state: stateLayout(join(this.#directory.path, name)),
      report: { notice: () => {}, warn: () => {}, volume: () => {}, progress: () => {} },
      signal: new AbortController().signal,
      unattended: true,
      acceptRollback: async () => false,
    } as unknown as Context;
  }

  /** Opens it, or makes a sealed one; gives what was warned of too. */
  async open(
    paths: ArchivePaths,
    service: Service,
    settings: ArchiveSettings = this.settings,
  ): Promise<{ readonly open: OpenArchive; readonly warnings: readonly string[] }> {
    const client = await this.connect(service);
    const warnings: string[] = [];
    try {
      const open = await openArchive(client, settings, paths, {
        create: async () => ({ sealed: true, passphrases: [], onMade: () => undefined }),
        acceptRollback: async () => false,
        warn: (message) => void warnings.push(message),
        holdsLock: true,
      });
      if (open === undefined) throw new Error("not made");
      return { open, warnings };
    } catch (error) {
      await client[Symbol.asyncDispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#directory[Symbol.dispose]();
  }
}

function emptyVolume(open: OpenArchive, name: string): VolumeIndex {
  const volume = new Uint8Array(randomBytes(16)) as VolumeId;
  return {
    archive: open.record.uuid,
    volume,
    generation: (open.head.generation + 1) as Generation,
    containers: [],
    name,
    group: volume as Uint8Array as GroupId,
    sessions: [],
  };
}

test("a sealed archive is made, opened again, and joined from nothing but its recovery form", async () => {
  using place = new Place();
  const first = place.state("first");
  // S15: what is not sealed does not leave, whoever made it: it is known by its prefix.
  for (const kind of ["index", "header", "manifest"] as const) {
    const { open } = await place.open(first, "sparsebak.Send");
    await using client = open.client;
    expect(open.record.sealed).toBe(true);
    const index = emptyVolume(open, "vm-work-private");
    const { archive, volume, generation } = index;
    const bytes =
      kind === "index"
        ? encodeIndex(index)
        : concatBytes([encodePrefix(plainPrefix(kind, archive, volume, generation)), new Uint8Array(200)]);
    const put = client.put(metaOf(kind, generation, volume), bytes.length, fileDigest(bytes), [bytes]);
    await expect(put, kind).rejects.toThrow(`put ${kind}: not sealed, in a sealed archive`);
  }
  const form = recoveryForm(readMasterKey(first));

  const second = place.state("second");
  await expect(place.open(second, "sparsebak.Receive")).rejects.toMatchObject({ reason: "integrity" });
  {
    await using client = await place.connect("sparsebak.Receive");
    const { untrustedHeader } = await untrustedArchive(client);
    expect(() => masterFrom(untrustedHeader, "some passphrase")).toThrow(AgentError);
    expect(() =>
      masterFrom(
        untrustedHeader,
        form.replace(/^./, (at) => (at === "0" ? "1" : "0")),
      ),
    ).toThrow(/a character is wrong/);
    const master = masterFrom(untrustedHeader, form);
    // The settings say whether it may be sealed, and not what is there.
    await expect(
      adoptArchive(client, { ...place.settings, encryption: "off" }, second, master, undefined),
    ).rejects.toMatchObject({ reason: "integrity" });
    await adoptArchive(client, place.settings, second, master, undefined);
  }
  const { open } = await place.open(second, "sparsebak.Receive");
  await using _client = open.client;
  expect(open.head.generation).toBe(1);
  await expect(
    place.open(second, "sparsebak.Receive", { ...place.settings, encryption: "off" }),
  ).rejects.toMatchObject({ reason: "usage" });
});

test("a record that is lost is made again where the key is there, and a damaged key is told from that", async () => {
  using place = new Place();
  const paths = place.state("first");
  {
    const { open } = await place.open(paths, "sparsebak.Send");
    await using client = open.client;
    await client.close();
  }
  const before = readArchiveRecord(paths);
  for (const damage of [() => rmSync(paths.archive), () => writeFileSync(paths.archive, "{}")]) {
    damage();
    const { open, warnings } = await place.open(paths, "sparsebak.Receive");
    await using _client = open.client;
    expect(warnings.join()).toContain("made again from the archive");
    expect(readArchiveRecord(paths)).toEqual(before);
  }
  const key = readMasterKey(paths).slice();
  const file = readFileSync(paths.key);
  file[3] = (file[3] ?? 0) ^ 1;
  writeFileSync(paths.key, file);
  await expect(place.open(paths, "sparsebak.Receive")).rejects.toMatchObject({
    reason: "failed",
    message: expect.stringContaining(paths.key),
    hint: expect.stringContaining("init --join"),
  });
  writeMasterKey(paths, key);
  const { open } = await place.open(paths, "sparsebak.Receive");
  await open.client[Symbol.asyncDispose]();
});

test("slots are changed by a step of their own, and the old header goes", async () => {
  using place = new Place();
  const paths = place.state("first");
  {
    const { open } = await place.open(paths, "sparsebak.Send");
    await open.client.close();
    await open.client[Symbol.asyncDispose]();
  }
  const context = place.context("first");
  const quick = { logN: 12 };
  const given = (text: string) => async () => text;
  const headers = (): readonly string[] =>
    readdirSync(join(place.mountpoint, "backups"))
      .filter((name) => name.startsWith("archive"))
      .toSorted();
  expect(headers()).toEqual(["archive"]);
  await expect(
    changeSlots(context, place.settings, { kind: "add", passphrase: given("short") }, quick),
  ).rejects.toMatchObject({ reason: "usage" });
  expect(
    await changeSlots(context, place.settings, { kind: "add", passphrase: given("the first one") }, quick),
  ).toBe(1);
  expect(
    await changeSlots(
      context,
      place.settings,
      {
        kind: "change",
        slot: undefined,
        passphrase: given("the second one"),
      },
      quick,
    ),
  ).toBe(1);
  // The slot that the first passphrase opened is gone from the destination, as far as that is honest.
  expect(headers()).toEqual(["archive.3"]);
  {
    await using client = await place.connect("sparsebak.Receive");
    const { untrustedHeader } = await untrustedArchive(client);
    expect(() => masterFrom(untrustedHeader, "the first one")).toThrow(/not with this passphrase/);
    expect(masterFrom(untrustedHeader, "the second one")).toEqual(readMasterKey(paths));
  }
  await expect(changeSlots(context, place.settings, { kind: "remove", slot: 1 })).rejects.toMatchObject({
    reason: "failed",
    message: expect.stringContaining("only passphrase"),
  });
  expect(await listSlots(context, place.settings)).toEqual([{ slot: 1, memory: 4 * 1024 * 1024 }]);
  const { open } = await place.open(paths, "sparsebak.Send");
  await using _client = open.client;
  expect(open.head.generation).toBe(3);
});
