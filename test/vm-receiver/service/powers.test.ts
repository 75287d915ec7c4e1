// Every message of the table, said to every service: accepted by those that the table names, and refused by the others
// with an end of the call. A service that could do more than its own would be a hole.

import { describe, expect, test } from "vitest";
import type {
  ChunkAddress,
  Digest,
  Generation,
  SessionName,
  SessionUid,
  VolumeId,
} from "../../../protocol/archive/types.ts";
import {
  type MessageName,
  type Messages,
  messages,
  type Service,
  services,
} from "../../../protocol/wire/messages.ts";
import { metaName, noUuid } from "../../support/agent-client.ts";
import { archiveDirectory, receiverSite } from "../site.ts";

const uid = new Uint8Array(16).fill(1);
const digest = new Uint8Array(32) as Digest;
const samples = {
  agentHello: { service: "sparsebak.Send", mountpoint: "/mnt/volume", directory: "", archive: noUuid },
  readMeta: metaName({ kind: "archive" }),
  listPending: {},
  discard: { directory: "work", session: uid as SessionUid },
  put: { name: metaName({ kind: "archive" }), length: 200, digest },
  part: { bytes: new Uint8Array(8) },
  beginSession: {
    volume: uid as VolumeId,
    directory: "work",
    session: uid as SessionUid,
    name: "S_20261123-101500" as SessionName,
    form: "dir",
    generation: 1 as Generation,
    chunkSize: 65_536,
    size: 65_536,
  },
  chunk: { address: 0 as ChunkAddress, checksum: digest, bytes: new Uint8Array(8) },
  endSession: { session: uid as SessionUid, chunks: 0, storedBytes: 0, listDigest: digest },
  commit: { base: 0 as Generation, baseDigest: digest, headDigest: digest },
  assemble: { volume: uid as VolumeId, session: uid as SessionUid, saveTo: "" },
  goodbye: {},
  readChunks: { volume: uid as VolumeId, session: uid as SessionUid, addresses: [0 as ChunkAddress] },
  scrub: { volume: uid as VolumeId, session: uid as SessionUid },
  salvage: { directory: "work", session: uid as SessionUid },
  sweep: {},
  reveal: { key: new Uint8Array(8) },
} as const satisfies Partial<Messages>;
type Said = keyof typeof samples;

/** Messages that may come first after the hello. */
const openers: readonly Said[] = [
  "readMeta",
  "readChunks",
  "scrub",
  "salvage",
  "sweep",
  "reveal",
  "listPending",
  "discard",
  "put",
  "beginSession",
  "commit",
  "assemble",
];

test("the table of samples has everything that an agent can say", () => {
  const said = (Object.keys(messages) as MessageName[]).filter((name) => messages[name].from === "agent");
  expect(Object.keys(samples).sort()).toEqual(said.sort());
});

describe.each(Object.keys(services) as Service[])("%s", (service) => {
  test.each(Object.keys(samples) as Said[])("%s", async (message) => {
    using site = receiverSite();
    await using client = site.start(service);
    await client.hello(site.mountpoint, archiveDirectory);
    const row = messages[message];
    const accepted = row.services === "all" || row.services.includes(service);
    await client.sendRaw(message, samples[message]);
    if (message === "goodbye") {
      expect((await client.ended).exitCode).toBe(0);
      return;
    }
    if (message === "put" && accepted) await client.sendRaw("part", { bytes: new Uint8Array(200) }, 2);
    const answer = await client.next();
    if (accepted && openers.includes(message)) {
      expect(["done", "refused"]).toContain(answer.type);
      return;
    }
    expect(answer).toMatchObject({ type: "aborted", body: { code: "malformed" } });
    expect((await client.ended).exitCode).toBe(1);
  });
});

test("a service does not serve a hello that is for another one", async () => {
  using site = receiverSite();
  await using client = site.start("sparsebak.Receive");
  await client.sendRaw("agentHello", { ...samples.agentHello, mountpoint: site.mountpoint }, 1);
  expect(await client.next()).toMatchObject({ type: "refused", body: { code: "not-allowed" } });
  expect((await client.ended).exitCode).toBe(1);
});

test("where there is no archive there is nothing to prune", async () => {
  using site = receiverSite();
  await using client = site.start("sparsebak.Prune");
  await client.hello(site.mountpoint, archiveDirectory);
  expect(await client.ask("commit", samples.commit, "refused")).toMatchObject({ body: { code: "missing" } });
  await client.upload({ kind: "index" }, new Uint8Array(200));
  expect(await client.next()).toMatchObject({ type: "refused", body: { code: "missing" } });
  expect((await client.goodbye()).exitCode).toBe(0);
});
