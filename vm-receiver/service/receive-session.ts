// One session as it comes in: chunks in the order of their addresses, each checked against its checksum before it is
// stored, header and manifest once each, and in the end the same count and list that the agent has.

import { hash } from "node:crypto";
import { closeSync } from "node:fs";
import { chunkCount, maxManifestHeadBytes, recordBytes } from "../../protocol/archive/manifest.ts";
import { maxSessionHeaderBytes } from "../../protocol/archive/session-header.ts";
import { type Digest, maxStoredLength } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import type { BeginSession, Chunk, EndSession, Put } from "../../protocol/wire/messages.ts";
import type { Directory } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { statOf } from "../files.ts";
import type { Space } from "../space.ts";
import { fileRoom, type Room, sessionRoom } from "../room.ts";
import type { Archive } from "../store/archive.ts";
import type { NewSession, SessionWriter, Written } from "../store/store.ts";
import { namesOfSession, stores } from "../store/stores.ts";
import { checkSessionFile } from "./session-meta.ts";
import { startUpload, type Upload } from "./upload.ts";
import { ensureVolumeDirectory } from "./volume-directory.ts";

export interface ReceivedSession extends Disposable {
  readonly writer: SessionWriter;
  readonly written: Written;
  /** Stores a chunk. FormatError for one that may not come now or is not what its checksum says; RefusalError `no-space`,
   *  `no-inodes`. */
  chunk(untrusted: Chunk): void;
  /** Begins the upload of the header or the manifest. FormatError for anything else, or for a second one. */
  put(announced: Put): Upload;
  /** Checks and closes what was put. */
  putDone(upload: Upload): void;
  /** Checks what the agent counted and publishes the session. RefusalError `malformed` where it counted otherwise. */
  end(counted: EndSession): Promise<void>;
}

/** Begins the session that the agent asks for; `space` is that of the file system. RefusalError `stale`, `exists`,
 *  `malformed`, `no-space`, `no-inodes`. */
export async function beginSession(
  archive: Archive,
  asked: BeginSession,
  space: () => Space,
): Promise<ReceivedSession> {
  if (asked.generation !== archive.generation + 1) {
    throw new RefusalError(
      "stale",
      `the session is for head ${asked.generation}, wanted ${archive.generation + 1}`,
    );
  }
  const header = archive.header()?.header;
  if (header === undefined) throw new RefusalError("missing", "the archive has no header yet: put it first");
  if (asked.chunkSize !== header.chunkSize) {
    throw new RefusalError(
      "malformed",
      `chunks of ${asked.chunkSize} bytes, wanted ${header.chunkSize} as in the archive`,
    );
  }
  const room = sessionRoom(asked.form, space);
  room.take(0);
  fileRoom(space).take(0);
  const volume = ensureVolumeDirectory(archive, asked.volume, asked.directory);
  try {
    for (const name of namesOfSession(asked.name)) {
      if (statOf(volume, name) !== undefined) {
        throw new RefusalError("exists", "a session of that name is there already, finished or not");
      }
    }
    const session: NewSession = { ...asked, archive: header.uuid };
    const writer = await stores[asked.form].begin(volume, session);
    return receivedSession(volume, session, writer, room);
  } catch (error) {
    volume[Symbol.dispose]();
    throw error;
  }
}

function receivedSession(
  volume: Directory,
  session: NewSession,
  writer: SessionWriter,
  room: Room,
): ReceivedSession {
  const { chunkSize, size } = session;
  const longest = maxStoredLength(chunkSize);
  const put = new Map<string, Upload>();
  let openMeta: { readonly kind: "header" | "manifest"; readonly fd: number } | undefined;
  let next = 0;

  const bad = (what: string): never => {
    throw new FormatError("bad-value", what);
  };
  return {
    writer,
    get written() {
      return writer.written;
    },
    chunk: ({ address, checksum, bytes }) => {
      if (address % chunkSize !== 0) bad("chunk: its address is no multiple of the chunk size");
      if (address < next)
        throw new FormatError("bad-order", "chunk: its address is not above the one before");
      if (address >= size) bad("chunk: its address is behind the end of the volume");
      if (bytes.length < 1 || bytes.length > longest)
        bad(`chunk: ${bytes.length} bytes, wanted 1 to ${longest}`);
      if (!equalBytes(hash("sha256", bytes, "buffer"), checksum)) {
        throw new FormatError("bad-digest", "chunk: its bytes don't have its checksum: damaged on the way");
      }
      room.take(bytes.length);
      writer.writeChunk(address, bytes, checksum);
      next = address + 1;
    },
    put: (announced) => {
      const { kind, generation, volume: of, session: uid } = announced.name;
      if (kind !== "header" && kind !== "manifest")
        return bad(`put ${kind} in a session, wanted header or manifest`);
      const ours = equalBytes(of, session.volume) && equalBytes(uid, session.session);
      if (!ours || generation !== session.generation) bad(`put ${kind}: of another session`);
      if (put.has(kind)) throw new FormatError("bad-order", `put ${kind}: it has been put already`);
      // A sealed manifest is somewhat longer than its records; more than twice is nonsense.
      const records = chunkCount(size, chunkSize) * recordBytes;
      const largest = kind === "header" ? 2 * maxSessionHeaderBytes : maxManifestHeadBytes + 2 * records;
      const fd = writer.createMeta(kind);
      openMeta = { kind, fd };
      return startUpload(announced, fd, largest, room);
    },
    putDone: (upload) => {
      upload.check();
      if (openMeta === undefined) return;
      const { kind, fd } = openMeta;
      openMeta = undefined;
      using file = { fd, offset: 0, length: upload.announced.length, [Symbol.dispose]: () => closeSync(fd) };
      checkSessionFile(kind, file, session);
      put.set(kind, upload);
    },
    end: async (counted) => {
      const list = writer.endList();
      checkCounted(counted, session, writer.written, list);
      if (put.size !== 2)
        throw new RefusalError("malformed", "the session ended without its manifest or its header");
      await writer.publish();
    },
    [Symbol.dispose]: () => {
      if (openMeta !== undefined) closeSync(openMeta.fd);
      openMeta = undefined;
      writer[Symbol.dispose]();
      volume[Symbol.dispose]();
    },
  };
}

function checkCounted(counted: EndSession, session: NewSession, written: Written, list: Digest): void {
  const wrong = (what: string): never => {
    throw new RefusalError("malformed", `the session ended with another ${what} than arrived`);
  };
  if (!equalBytes(counted.session, session.session)) wrong("uid");
  if (counted.chunks !== written.chunks) wrong("number of chunks");
  if (counted.storedBytes !== written.bytes) wrong("number of bytes");
  if (!equalBytes(counted.listDigest, list)) wrong("list of chunks");
}
