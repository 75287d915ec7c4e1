// What each request does, apart from the dialogue around it. One object a connection; it holds the destination, and with
// it the archive's lock, from the hello to the end.

import type { SessionUid } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import { InternalError } from "../../protocol/errors.ts";
import {
  type AgentHello,
  type Assemble,
  type Assembled,
  type BeginSession,
  type Commit,
  type Committed,
  type Discard,
  type MetaName,
  type Pending,
  type Put,
  type ReadChunks,
  type ReceiverHello,
  type Reveal,
  type Salvage,
  type Scrub,
  type Service,
  capabilities,
} from "../../protocol/wire/messages.ts";
import type { ReceiverSettings } from "../config/settings.ts";
import { RefusalError } from "../errors.ts";
import type { Space } from "../space.ts";
import type { StoredFile } from "../files.ts";
import type { Archive } from "../store/archive.ts";
import { keepCopies } from "../store/copies.ts";
import { allLeftovers, discardSession } from "../store/leftovers.ts";
import type { OnRemoved } from "../store/store.ts";
import { assemble, type AssembleWatch } from "./assemble.ts";
import { sweep } from "./sweep.ts";
import { commit } from "./commit.ts";
import { type Destination, openDestination } from "./destination.ts";
import { type FileUpload, putFile } from "./put-file.ts";
import type { Power, WriterMemory } from "./writing.ts";
import { type ChunkSource, openChunks } from "./read-chunks.ts";
import { openMeta } from "./read-meta.ts";
import { renewSpares } from "./renew-spares.ts";
import { salvage } from "./salvage.ts";
import { scrub, type ScrubWatch } from "./scrub.ts";
import { dropUncommittedFiles } from "./uncommitted.ts";
import { beginSession, type ReceivedSession } from "./receive-session.ts";

export interface Requests extends Disposable {
  hello(asked: AgentHello): Promise<ReceiverHello>;
  /** Throws RefusalError `not-mounted` where the mountpoint is no longer what was opened; nothing before the hello. */
  checkMount(): void;
  /** Of the destination's file system; undefined before the hello. */
  space(): Space | undefined;
  open(name: MetaName): StoredFile;
  chunks(asked: ReadChunks): ChunkSource;
  pending(): Generator<Pending, void, void>;
  discard(asked: Discard, onRemoved: OnRemoved): Promise<void>;
  put(announced: Put): FileUpload;
  scrub(asked: Scrub, watch: ScrubWatch): Promise<void>;
  /** Keeps a key for the next `assemble`. */
  reveal(asked: Reveal): void;
  salvage(asked: Salvage, onBytes: (bytes: number) => void): Promise<StoredFile>;
  begin(asked: BeginSession): Promise<ReceivedSession>;
  commit(asked: Commit): Promise<Committed>;
  sweep(onRemoved: OnRemoved): Promise<number>;
  assemble(asked: Assemble, watch: AssembleWatch): Promise<Assembled>;
}

/** A leftover that does not say whose it is has this uid on the wire. */
const unknownSession = new Uint8Array(16) as SessionUid;

/** The requests of one connection. All throw RefusalError for what is refused. */
export function requests(service: Service, settings: ReceiverSettings): Requests {
  let destination: Destination | undefined;
  let revealed: Uint8Array | undefined;
  let begun = false;
  const memory: WriterMemory = { begun: new Map(), headPut: undefined };

  const there = (): Destination => {
    if (destination === undefined) throw new InternalError("a request before the hello");
    return destination;
  };
  const power: Power = service === "sparsebak.Prune" ? "prune" : "add";
  const writable = (): Archive => {
    const { archive } = there();
    if (archive?.current === undefined && power === "prune")
      throw new RefusalError("missing", "there is no archive");
    if (archive === undefined) throw new InternalError("sparsebak.Send without a directory");
    return archive;
  };

  /** The archive, without what an earlier attempt has put for a head that never came, and with second copies of what
   *  counts. Not before something is put: an agent may have found that it has lost its newest head. */
  const fresh = (): Archive => {
    const archive = writable();
    if (!begun) {
      dropUncommittedFiles(archive);
      if (archive.current !== undefined) keepCopies(archive.root, archive.current);
    }
    begun = true;
    return archive;
  };

  return {
    hello: async (asked) => {
      if (asked.service !== service) {
        throw new RefusalError("not-allowed", `this is ${service}, and the hello is for ${asked.service}`);
      }
      destination = await openDestination(asked, settings);
      return destination.hello;
    },
    checkMount: () => destination?.mountpoint.check(),
    space: () => destination?.mountpoint.space(),
    open: (name) => openMeta(there().archive, name),
    chunks: (asked) => openChunks(there().archive, asked),
    pending: function* () {
      const archive = writable();
      // Every send begins with this, also one that finds nothing to put.
      if (archive.current !== undefined) keepCopies(archive.root, archive.current);
      for (const { directory, name, form, finished, identity } of allLeftovers(archive)) {
        yield { directory, name, form, finished, session: identity?.session ?? unknownSession };
      }
    },
    discard: async ({ directory, session }, onRemoved) => {
      const uid = session.some((byte) => byte !== 0) ? session : undefined;
      const found = await discardSession(writable(), directory, uid, onRemoved);
      if (found === 0) throw new RefusalError("missing", "there is no uncommitted session of that uid");
    },
    scrub: async (asked, watch) => scrub(there().archive, asked, watch),
    reveal: ({ key }) => {
      revealed?.fill(0);
      revealed = key.slice();
    },
    salvage: async (asked, onBytes) => salvage(writable(), asked, onBytes),
    put: (announced) => putFile(fresh(), memory, announced, power, () => there().mountpoint.space()),
    begin: async (asked) => {
      const session = await beginSession(fresh(), asked, () => there().mountpoint.space());
      memory.begun.set(toHex(asked.volume), asked.directory);
      return session;
    },
    commit: async (asked) => {
      const archive = writable();
      const { head, digest } = await commit(archive, memory, asked, power, () => there().mountpoint.check());
      return { generation: head.generation, headDigest: digest };
    },
    sweep: async (onRemoved) => {
      const archive = writable();
      const { trashDays } = settings;
      const punch = (there().hello.capabilities & capabilities.punchHoles) !== 0;
      renewSpares(archive);
      return await sweep(archive, { trashDays, punch, now: Date.now(), onRemoved });
    },
    assemble: async (asked, watch) => {
      const key = revealed;
      revealed = undefined;
      try {
        return await assemble(there(), asked, key, watch);
      } finally {
        key?.fill(0);
      }
    },
    [Symbol.dispose]: () => {
      revealed?.fill(0);
      destination?.[Symbol.dispose]();
      destination = undefined;
    },
  };
}
