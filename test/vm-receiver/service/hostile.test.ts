// A caller that breaks the rules, and a drive that was prepared to lead the receiver astray. Whatever is said, nothing
// outside of the archive is touched, and nothing that was committed changes.

import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { encodeFrame, encodePreamble } from "../../../protocol/wire/frame.ts";
import type { ChunkAddress, Digest, Generation, SessionUid } from "../../../protocol/archive/types.ts";
import type { Chunk, Refusal } from "../../../protocol/wire/messages.ts";
import { type AgentClient, metaName, noUuid } from "../../support/agent-client.ts";
import { begin, bytesOf, checksumOf, putMeta, sendChunks, sendState, sourceState } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, type ReceiverSite, sourceArchive } from "../site.ts";

/** The call ends with `code`, and what was committed before it, if anything was, is as it was. */
async function expectAborted(
  client: AgentClient,
  code: Refusal,
  { archive, committed = {} }: Pick<ReceiverSite, "archive"> & Partial<Committed>,
): Promise<void> {
  for (;;) {
    const frame = await client.next();
    if (frame.type !== "aborted") continue;
    expect(frame.body.code).toBe(code);
    break;
  }
  const end = await client.ended;
  expect(end.exitCode).toBe(1);
  expect(end.stderr).toBe(`sparsebak.Send: aborted: ${code}\n`);
  expect(existsSync(archive) ? contents(archive) : {}).toMatchObject(committed);
}

interface Committed {
  /** The files of the state that was committed, with their digests. */
  readonly committed: Readonly<Record<string, string>>;
}

/** A site with one committed state, and a second in the source. */
async function committedSite(): Promise<ReceiverSite & Committed & { readonly source: string }> {
  const site = receiverSite();
  const image = randomImage(12);
  const next = image.slice();
  next.fill(3, 0, 300_000);
  const source = sourceArchive(site, [image, next]);
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  await sendState(client, source.path, 1);
  await client.goodbye();
  return { ...site, source: source.path, committed: contents(site.archive) };
}

/** Every file below a directory with what it holds. */
function contents(path: string): Record<string, string> {
  const files = execFileSync("find", [path, "-type", "f", "-exec", "sha256sum", "{}", "+"], {
    encoding: "utf8",
  });
  return Object.fromEntries(
    files
      .trim()
      .split("\n")
      .map((line) => [line.slice(66 + path.length), line.slice(0, 64)]),
  );
}

describe("frames", () => {
  test("what is refused at once takes nothing of the frames behind it", async () => {
    using site = await committedSite();
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    // More than is ever taken is refused before a byte of it has come. With it comes the next request.
    const name = metaName({ kind: "head", generation: 77 as Generation });
    const put = encodeFrame("put", 2, {
      name,
      length: Number.MAX_SAFE_INTEGER,
      digest: new Uint8Array(32) as Digest,
    });
    const read = encodeFrame("readMeta", 3, metaName({ kind: "head", generation: 1 as Generation }));
    client.order.step("put", 2);
    await client.write(Buffer.concat([put, read]));
    expect(await client.next()).toMatchObject({ type: "refused", id: 2 });
    client.order.step("readMeta", 3);
    expect(await client.next()).toMatchObject({ type: "data", id: 3 });
    expect(await client.next()).toMatchObject({ type: "done", id: 3 });
    await client.sendRaw("goodbye", {}, 4);
    client.end();
    expect((await client.ended).exitCode).toBe(0);
  });

  test.each([
    ["no preamble", Buffer.from("GET / HTTP/1.1\r\n\r\n".repeat(10))],
    [
      "a preamble of another version",
      Buffer.concat([encodePreamble().subarray(0, 12), Buffer.from([0, 9, 0, 0])]),
    ],
  ])("%s", async (_name, bytes) => {
    using site = receiverSite();
    await using client = site.start("sparsebak.Send", { args: [] });
    // The client's own preamble went first; here the stream goes wrong behind it.
    await client.write(bytes);
    expect((await client.ended).exitCode).toBe(1);
    expect(existsSync(site.archive)).toBe(false);
  });

  test("a length above the type's bound is refused before anything of it is kept", async () => {
    using site = await committedSite();
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    const frame = encodeFrame("listPending", 2, {});
    new DataView(frame.buffer).setUint32(8, 0xffff_ffff);
    await client.write(frame);
    await expectAborted(client, "malformed", site);
  });

  test("a stream that ends in the middle of a frame leaves the archive as it was", async () => {
    using site = await committedSite();
    const before = contents(site.archive);
    const state = sourceState(site.source, 2);
    const [session] = state.sessions;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await begin(client, session!);
    const frame = encodeFrame("chunk", 2, session!.chunk(session!.entries[0]!));
    await client.write(frame.subarray(0, frame.length - 10));
    client.end();
    expect((await client.ended).exitCode).toBe(1);
    for (const [path, digest] of Object.entries(before)) expect(contents(site.archive)[path]).toBe(digest);
    expect(existsSync(join(site.archive, "heads", "2"))).toBe(false);
  });

  test("a hello in the middle, a wrong request id, an answer in place of a request", async () => {
    for (const frame of [
      encodeFrame("agentHello", 2, {
        service: "sparsebak.Send",
        mountpoint: "/mnt",
        directory: "",
        archive: noUuid,
      }),
      encodeFrame("listPending", 7, {}),
      encodeFrame("done", 1, { bytes: 0 }),
    ]) {
      using site = receiverSite();
      await using client = site.start();
      await client.hello(site.mountpoint, archiveDirectory);
      await client.write(frame);
      await expectAborted(client, "malformed", site);
    }
  });
});

describe("chunks", () => {
  const other = (chunk: Chunk, change: Partial<Chunk>): Chunk => ({ ...chunk, ...change });
  const wrong: Record<string, (first: Chunk, size: number) => readonly Chunk[]> = {
    "an address between two chunks": (first) => [other(first, { address: 1 as ChunkAddress })],
    "an address behind the end": (first, size) => [other(first, { address: size as ChunkAddress })],
    "an address far behind the end": (first) => [other(first, { address: (2 ** 45) as ChunkAddress })],
    "another checksum": (first) => [other(first, { checksum: new Uint8Array(32) as Digest })],
    "the same chunk twice": (first) => [first, first],
    "an address below the one before": (first) => [
      other(first, { address: 65_536 as ChunkAddress }),
      other(first, { address: 0 as ChunkAddress }),
    ],
    "more bytes than a chunk of the archive can have": (first) => {
      const bytes = new Uint8Array(70_000);
      return [other(first, { bytes, checksum: checksumOf(bytes) })];
    },
  };
  test.each(Object.keys(wrong))("%s", async (name) => {
    using site = await committedSite();
    const [session] = sourceState(site.source, 2).sessions;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await begin(client, session!);
    for (const chunk of wrong[name]!(session!.chunk(session!.entries[0]!), session!.begin.size)) {
      const frame = encodeFrame("chunk", 2, { ...chunk, address: 0 as ChunkAddress });
      new DataView(frame.buffer).setBigUint64(12, BigInt(chunk.address)); // what our own codec would not say
      await client.write(frame);
    }
    await expectAborted(client, "malformed", site);
  });

  test("no bytes", async () => {
    using site = await committedSite();
    const [session] = sourceState(site.source, 2).sessions;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await begin(client, session!);
    const chunk = {
      address: 0 as ChunkAddress,
      checksum: checksumOf(new Uint8Array(0)),
      bytes: new Uint8Array(1),
    };
    const frame = encodeFrame("chunk", 2, chunk).subarray(0, -1);
    new DataView(frame.buffer).setUint32(8, 40);
    await client.write(frame);
    await expectAborted(client, "malformed", site);
  });

  test("what a chunk's address can't be is not even a file name: the group is made of digits only", async () => {
    using site = await committedSite();
    const [session] = sourceState(site.source, 2).sessions;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await begin(client, session!);
    const part = join(site.archive, "work", `${session!.begin.name}.part`);
    rmSync(join(part, "000000000"), { force: true, recursive: true });
    symlinkSync(site.path, join(part, "000000000"));
    await client.send("chunk", session!.chunk(session!.entries[0]!));
    const frame = await client.next();
    expect(frame).toMatchObject({ type: "aborted" });
    expect(readdirSync(site.path).filter((name) => name.startsWith("x"))).toEqual([]);
  });
});

describe("sessions", () => {
  const refused: Record<string, readonly [Refusal, (begin: Record<string, unknown>) => object]> = {
    "for another generation": ["stale", () => ({ generation: 7 as Generation })],
    "for the current generation": ["stale", () => ({ generation: 1 as Generation })],
    "of another chunk size": ["malformed", () => ({ chunkSize: 131_072 })],
    "in another directory": ["malformed", () => ({ directory: "elsewhere" })],
    "of another volume in this one's directory": ["exists", () => ({ volume: new Uint8Array(16).fill(9) })],
    "that is there already": ["exists", () => ({ name: "S_20261123-101500" })],
    "that is there already, as a tar": ["exists", () => ({ name: "S_20261123-101500", form: "tar" })],
  };
  test.each(Object.keys(refused))("one %s is refused, and another may follow", async (name) => {
    using site = await committedSite();
    const before = contents(site.archive);
    const [session] = sourceState(site.source, 2).sessions;
    const [code, change] = refused[name]!;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    const asked = { ...session!.begin, ...change(session!.begin as never) };
    expect(await client.ask("beginSession", asked, "refused")).toMatchObject({ body: { code } });
    expect(contents(site.archive)).toEqual(before);
    await sendStateFrom(client, site.source);
    expect((await client.goodbye()).exitCode).toBe(0);
  });

  test("a second one while the first is open ends the call", async () => {
    using site = await committedSite();
    const [session] = sourceState(site.source, 2).sessions;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await begin(client, session!);
    await client.sendRaw("beginSession", session!.begin);
    await expectAborted(client, "malformed", site);
  });

  const ends: Record<string, object> = {
    "another number of chunks": { chunks: 99 },
    "another number of bytes": { storedBytes: 1 },
    "another list": { listDigest: new Uint8Array(32) },
    "another uid": { session: new Uint8Array(16).fill(8) },
  };
  test.each(Object.keys(ends))("one that ends with %s is not finished", async (name) => {
    using site = await committedSite();
    const [session] = sourceState(site.source, 2).sessions;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await begin(client, session!);
    await sendChunks(client, session!);
    await putMeta(client, session!);
    expect(await client.ask("endSession", { ...session!.end, ...ends[name] }, "refused")).toMatchObject({
      body: { code: "malformed" },
    });
    expect(existsSync(join(site.archive, "work", session!.begin.name))).toBe(false);
    expect((await client.listPending()).map((each) => each.finished)).toEqual([false]);
  });

  test("one without a manifest is not finished", async () => {
    using site = await committedSite();
    const [session] = sourceState(site.source, 2).sessions;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await begin(client, session!);
    await sendChunks(client, session!);
    expect(await client.ask("endSession", session!.end, "refused")).toMatchObject({
      body: { code: "malformed" },
    });
  });

  const metas: Record<string, readonly [object, "manifestBytes" | "headerBytes" | "indexBytes"]> = {
    "the header of another kind": [{ kind: "header" }, "manifestBytes"],
    "an index": [{ kind: "index", session: new Uint8Array(16) as SessionUid }, "indexBytes"],
    "a manifest for another session": [
      { kind: "manifest", session: new Uint8Array(16).fill(7) as SessionUid },
      "manifestBytes",
    ],
    "a manifest for another generation": [{ kind: "manifest", generation: 9 as Generation }, "manifestBytes"],
  };
  test.each(Object.keys(metas))("%s does not become part of it", async (name) => {
    using site = await committedSite();
    const [session] = sourceState(site.source, 2).sessions;
    const [change, bytes] = metas[name]!;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await begin(client, session!);
    const of = { volume: session!.of.volume, session: session!.container.uid, generation: 2 as Generation };
    const file = session![bytes];
    await client.sendRaw("put", {
      name: metaName({ kind: "manifest", ...of, ...change }),
      length: file.length,
      digest: file.slice(-32) as Digest,
    });
    await client.sendRaw("part", { bytes: file }, 3);
    await expectAborted(client, "malformed", site);
  });
});

async function sendStateFrom(client: AgentClient, source: string): Promise<void> {
  await sendState(client, source, 2);
}

describe("files outside of a session", () => {
  test("what is not what was announced is refused, once all of it has come", async () => {
    using site = await committedSite();
    const state = sourceState(site.source, 2);
    const damaged = state.headBytes.slice();
    damaged[100]! ^= 1;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await client.upload({ kind: "head", generation: 2 as Generation }, damaged);
    expect(await client.next()).toMatchObject({ type: "refused", body: { code: "malformed" } });
    expect(readdirSync(join(site.archive, "heads")).filter((name) => !name.startsWith("."))).toEqual(["1"]);
  });

  test("more than was announced ends the call", async () => {
    using site = await committedSite();
    const { headBytes } = sourceState(site.source, 2);
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    const name = metaName({ kind: "head", generation: 2 as Generation });
    await client.send("put", { name, length: headBytes.length - 5, digest: headBytes.slice(-32) as Digest });
    await client.send("part", { bytes: headBytes });
    await expectAborted(client, "malformed", site);
  });

  test("a length that no file has ends the call", async () => {
    using site = await committedSite();
    for (const length of [0, 5, 2 ** 40]) {
      await using client = site.start();
      await client.hello(site.mountpoint, archiveDirectory);
      const name = metaName({ kind: "head", generation: 2 as Generation });
      await client.send("put", { name, length, digest: new Uint8Array(32) as Digest });
      await expectAborted(client, "malformed", site);
    }
  });

  test("a committed archive keeps its header", async () => {
    using site = await committedSite();
    const before = contents(site.archive);
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await client.upload({ kind: "archive" }, bytesOf(join(site.source, "archive")));
    expect(await client.next()).toMatchObject({ type: "refused", body: { code: "exists" } });
    expect(contents(site.archive)).toEqual(before);
  });

  test("an index for a volume that was never begun has no place", async () => {
    using site = await committedSite();
    const [session] = sourceState(site.source, 2).sessions;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    const volume = new Uint8Array(16).fill(5) as never;
    await client.upload({ kind: "index", volume, generation: 2 as Generation }, session!.indexBytes);
    expect(await client.next()).toMatchObject({ type: "refused", body: { code: "missing" } });
  });
});

describe("paths and links", () => {
  test("directories that lead upwards or elsewhere can't be said", () => {
    using site = receiverSite();
    for (const directory of ["../x", "/etc", "a/../b", "a//b", ".", "a/.", "a\nb"]) {
      const hello = {
        service: "sparsebak.Send",
        mountpoint: site.mountpoint,
        directory,
        archive: noUuid,
      } as const;
      expect(() => encodeFrame("agentHello", 1, hello)).toThrow();
    }
  });

  test("a hello whose directory leads upwards is refused by the receiver, too", async () => {
    using site = receiverSite();
    const good = encodeFrame("agentHello", 1, {
      service: "sparsebak.Send",
      mountpoint: site.mountpoint,
      directory: "aa/bb",
      archive: noUuid,
    });
    const text = Buffer.from(good);
    text.write("../bb", text.indexOf("aa/bb"));
    await using client = site.start();
    await client.write(text);
    expect((await client.ended).exitCode).toBe(1);
    expect(readdirSync(site.mountpoint)).toEqual([]);
  });

  const traps: Record<string, (site: ReceiverSite & { readonly source: string }, outside: string) => void> = {
    "the archive's directory": (site, outside) => {
      rmSync(site.archive, { recursive: true });
      symlinkSync(outside, site.archive);
    },
    heads: (site, outside) => {
      rmSync(join(site.archive, "heads"), { recursive: true });
      symlinkSync(outside, join(site.archive, "heads"));
    },
    "the volume's directory": (site, outside) => {
      rmSync(join(site.archive, "work"), { recursive: true });
      symlinkSync(outside, join(site.archive, "work"));
    },
    "the lock": (site, outside) => {
      rmSync(join(site.archive, "lock"));
      symlinkSync(join(outside, "victim"), join(site.archive, "lock"));
    },
    "a head's temporary file": (site, outside) => {
      symlinkSync(join(outside, "victim"), join(site.archive, "heads", ".tmp-head"));
    },
    "the new index": (site, outside) => {
      symlinkSync(join(outside, "victim"), join(site.archive, "work", "index.2"));
    },
  };
  test.each(Object.keys(traps))("a symbolic link in place of %s leads nowhere", async (name) => {
    using site = await committedSite();
    const outside = join(site.path, "outside");
    mkdirSync(outside);
    writeFileSync(join(outside, "victim"), "precious");
    traps[name]!(site, outside);
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory).then(
      async () => {
        await sendState(client, site.source, 2).catch(() => undefined);
      },
      () => undefined,
    );
    expect(readdirSync(outside)).toEqual(["victim"]);
    expect(readFileSync(join(outside, "victim"), "utf8")).toBe("precious");
  });

  test("a pipe or device in place of a file is not waited for", async () => {
    using site = await committedSite();
    rmSync(join(site.archive, "archive"));
    execFileSync("mkfifo", [join(site.archive, "archive")]);
    await using client = site.start();
    await client.send("agentHello", {
      service: "sparsebak.Send",
      mountpoint: site.mountpoint,
      directory: archiveDirectory,
      archive: noUuid,
    });
    expect(await client.next()).toMatchObject({ type: "refused", body: { code: "corrupt" } });
  });

  test("a directory of somebody's own is not made a volume", async () => {
    using site = await committedSite();
    mkdirSync(join(site.archive, "Photos"));
    writeFileSync(join(site.archive, "Photos", "cat.jpg"), "cat");
    const [session] = sourceState(site.source, 2).sessions;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    const asked = { ...session!.begin, volume: new Uint8Array(16).fill(4) as never, directory: "Photos" };
    expect(await client.ask("beginSession", asked, "refused")).toMatchObject({ body: { code: "exists" } });
    expect(await client.listPending()).toEqual([]);
    expect(readdirSync(join(site.archive, "Photos"))).toEqual(["cat.jpg"]);
  });
});
