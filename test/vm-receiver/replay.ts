// Sends an archive that lies on disk (test/support/archive-writer.ts) to a receiver, state by state, as the agent would.
// What comes out must be the same archive, byte for byte.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { decodeHead, type Head, type HeadVolume } from "../../protocol/archive/head.ts";
import { type Container, decodeIndex, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import { decodeList, type ListEntry } from "../../protocol/archive/list-file.ts";
import { chunkPath } from "../../protocol/archive/names.ts";
import { fileDigest, sha256 } from "../../protocol/archive/prefix.ts";
import { decodeSessionHeader, type SessionHeader } from "../../protocol/archive/session-header.ts";
import type { Digest, Generation } from "../../protocol/archive/types.ts";
import type { BeginSession, Chunk, EndSession, Messages } from "../../protocol/wire/messages.ts";
import type { AgentClient } from "../support/agent-client.ts";
import { greeted, type ReceiverSite } from "./site.ts";

/** One session of the source: everything that is said of it, ready to be said. */
export interface SourceSession {
  readonly of: HeadVolume;
  readonly index: VolumeIndex;
  readonly indexBytes: Uint8Array;
  readonly container: Container;
  readonly header: SessionHeader;
  readonly headerBytes: Uint8Array;
  readonly manifestBytes: Uint8Array;
  readonly listBytes: Uint8Array;
  readonly entries: readonly ListEntry[];
  readonly begin: BeginSession;
  readonly end: EndSession;
  chunk(entry: ListEntry): Chunk;
}

export interface SourceState {
  readonly head: Head;
  readonly headBytes: Uint8Array;
  readonly base: { readonly generation: Generation; readonly digest: Digest };
  readonly sessions: readonly SourceSession[];
  readonly commit: Messages["commit"];
}

/** The bytes of a file, not of Node's own kind. */
export function bytesOf(path: string): Uint8Array {
  return new Uint8Array(readFileSync(path));
}

/** The heads that the archive at `path` has. */
export function headsOf(path: string): string[] {
  return readdirSync(join(path, "heads")).filter((name) => !name.startsWith("."));
}

/** What the step to head `generation` of the archive at `path` added. `form` is what its sessions are to be sent as. */
export function sourceState(path: string, generation: number): SourceState {
  const headBytes = bytesOf(join(path, "heads", String(generation)));
  const head = decodeHead(headBytes);
  const digest =
    generation === 1
      ? (new Uint8Array(32) as Digest)
      : fileDigest(bytesOf(join(path, "heads", String(generation - 1))));
  const base = { generation: (generation - 1) as Generation, digest };
  const sessions = head.volumes
    .filter((each) => each.indexGeneration === generation)
    .flatMap((of) => sessionsOf(path, of, generation));
  const asked = { base: base.generation, baseDigest: base.digest, headDigest: fileDigest(headBytes) };
  return { head, headBytes, base, sessions, commit: asked };
}

function sessionsOf(path: string, of: HeadVolume, generation: number): readonly SourceSession[] {
  const indexBytes = bytesOf(join(path, of.directory, `index.${generation}`));
  const index = decodeIndex(indexBytes);
  return index.containers
    .filter((each) => each.manifestGeneration === generation)
    .map((container) => {
      const directory = sessionPath(join(path, of.directory), container);
      const headerBytes = bytesOf(join(directory, "header"));
      const header = decodeSessionHeader(headerBytes);
      const manifestBytes = bytesOf(join(directory, `manifest.${generation}`));
      const listBytes = bytesOf(join(directory, "list"));
      const entries = decodeList(listBytes);
      return {
        of,
        index,
        indexBytes,
        container,
        header,
        headerBytes,
        manifestBytes,
        listBytes,
        entries,
        begin: {
          volume: of.volume,
          directory: of.directory,
          session: container.uid,
          name: container.name,
          form: container.form,
          generation: generation as Generation,
          chunkSize: header.chunkSize,
          size: header.size,
        },
        end: {
          session: container.uid,
          chunks: entries.length,
          storedBytes: entries.reduce((sum, each) => sum + each.storedLength, 0),
          listDigest: fileDigest(listBytes),
        },
        chunk: ({ address, checksum }) => {
          const { group, file } = chunkPath(address);
          return { address, checksum, bytes: bytesOf(join(directory, group, file)) };
        },
      };
    });
}

/** The session's directory; of a tar, one that it was extracted to. */
function sessionPath(volume: string, { name, form }: Container): string {
  if (form === "dir") return join(volume, name);
  const extracted = join(volume, ".extracted");
  if (!existsSync(join(extracted, name))) {
    mkdirSync(extracted, { recursive: true });
    execFileSync("tar", ["-xf", join(volume, `${name}.tar`), "-C", extracted]);
  }
  return join(extracted, name);
}

/** Puts the header of the source at `path`: with it an archive begins. */
export async function putArchive(client: AgentClient, path: string): Promise<void> {
  await client.put({ kind: "archive" }, bytesOf(join(path, "archive")));
}

/** Begins a session; the receiver answers `done`. */
export async function begin(client: AgentClient, session: SourceSession): Promise<void> {
  await client.ask("beginSession", session.begin, "done");
}

/** Sends chunks of a session: all of them, or the first `count`. */
export async function sendChunks(
  client: AgentClient,
  session: SourceSession,
  count: number = session.entries.length,
): Promise<void> {
  for (const entry of session.entries.slice(0, count)) await client.send("chunk", session.chunk(entry));
}

/** Puts manifest and header. */
export async function putMeta(client: AgentClient, session: SourceSession): Promise<void> {
  const of = {
    volume: session.of.volume,
    session: session.container.uid,
    generation: session.begin.generation,
  };
  await client.put({ kind: "manifest", ...of }, session.manifestBytes);
  await client.put({ kind: "header", ...of }, session.headerBytes);
}

/** Sends a whole session, without the index. */
export async function sendSession(client: AgentClient, session: SourceSession): Promise<void> {
  await begin(client, session);
  await sendChunks(client, session);
  await putMeta(client, session);
  await client.send("endSession", session.end);
  await client.expect("done");
}

/** Puts the index of a session's volume. */
export async function putIndex(client: AgentClient, session: SourceSession): Promise<void> {
  const { volume } = session.of;
  await client.put({ kind: "index", volume, generation: session.begin.generation }, session.indexBytes);
}

/** Puts the head and commits it. */
export async function commit(client: AgentClient, state: SourceState): Promise<Messages["committed"]> {
  await client.put({ kind: "head", generation: state.head.generation }, state.headBytes);
  await client.send("commit", state.commit);
  return client.expect("committed");
}

/** Sends one whole state of the source at `path`: sessions, indexes, head, commit. */
export async function sendState(client: AgentClient, path: string, generation: number): Promise<void> {
  const state = sourceState(path, generation);
  if (generation === 1) await putArchive(client, path);
  for (const session of state.sessions) {
    await sendSession(client, session);
    await putIndex(client, session);
  }
  await commit(client, state);
}

/** Sends states of the source at `path` to the site's archive, in one call, which ends well. */
export async function sendStates(
  site: ReceiverSite,
  path: string,
  generations: readonly number[],
): Promise<void> {
  await using client = await greeted(site);
  for (const generation of generations) await sendState(client, path, generation);
  expect((await client.goodbye()).exitCode).toBe(0);
}

/** A checksum as a chunk frame wants it. */
export function checksumOf(bytes: Uint8Array): Digest {
  return sha256(bytes);
}
