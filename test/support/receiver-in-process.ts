// The reading side of a receiver as the agent's client, in one process: the receiver's own functions answer, without pipe
// and child, and their refusals arrive as they do over the wire. For tests that read an archive tens of thousands of
// times; test/e2e/ runs the same through the real connection.

import { RefusedError } from "../../dom0-agent/archive/refused-error.ts";
import type { Client } from "../../dom0-agent/archive/client.ts";
import { noVolume } from "../../protocol/archive/prefix.ts";
import type { SessionUid } from "../../protocol/archive/types.ts";
import { concatBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { AgentError } from "../../dom0-agent/errors.ts";
import type { Damage, Scrub } from "../../protocol/wire/messages.ts";
import { openAbsolute } from "../../vm-receiver/directory.ts";
import { RefusalError } from "../../vm-receiver/errors.ts";
import { readStretch } from "../../vm-receiver/files.ts";
import { openChunks } from "../../vm-receiver/service/read-chunks.ts";
import { openMeta } from "../../vm-receiver/service/read-meta.ts";
import { scrub } from "../../vm-receiver/service/scrub.ts";
import { type Archive, openArchive } from "../../vm-receiver/store/archive.ts";

type Reading = Pick<
  Client,
  "hello" | "sealedOnly" | "onProgress" | "read" | "readWhole" | "readChunks" | "scrub" | "scrubRest"
>;

/** Opens the archive in the directory `root` as of now. Throws RefusedError where a receiver would refuse. */
export function receiverInProcess(root: string): { readonly client: Client } & Disposable {
  const archive = opened(root);
  const { current } = archive;
  const scrubbed = async (of: Scrub): Promise<readonly Damage[]> => {
    const found: Damage[] = [];
    try {
      await scrub(archive, of, {
        onDamage: (damage) => void found.push(damage),
        onBytes: () => undefined,
        signal: new AbortController().signal,
      });
    } catch (error) {
      throw asRefused("scrub", error);
    }
    return found;
  };
  const client: Reading = {
    hello: {
      capabilities: 0,
      archive: current?.head.archive ?? new Uint8Array(16),
      generation: current?.head.generation ?? 0,
      headDigest: current?.digest ?? new Uint8Array(32),
    } as unknown as Client["hello"],
    sealedOnly: false,
    onProgress: undefined,
    read: async (name, max, sink) => {
      try {
        using file = refusedAs("read", () => openMeta(archive, name));
        if (file.length > max) throw new AgentError("integrity", `more than ${max} bytes`);
        sink(refusedAs("read", () => readStretch(file, 0, file.length)));
        return file.length;
      } catch (error) {
        if (error instanceof RefusedError && error.code === "missing") return undefined;
        throw error;
      }
    },
    readWhole: async (name, max) => {
      const parts: Uint8Array[] = [];
      const length = await client.read(name, max, (part) => void parts.push(part));
      return length === undefined ? undefined : concatBytes(parts);
    },
    readChunks: async (volume, session, addresses, sink) => {
      using source = refusedAs("readChunks", () => openChunks(archive, { volume, session, addresses }));
      const into = new Uint8Array(source.longest);
      for (const address of addresses) {
        const length = lengthRead(() => source.chunks.read(address, into));
        await sink(address, length === 0 || length > into.length ? undefined : into.subarray(0, length));
      }
    },
    scrub: async (volume, session, { canHave }) => {
      const found = await scrubbed({ volume, session });
      const odd = found.find((each) => !canHave(each));
      if (odd !== undefined) throw new Error(`no container can have this damage: ${odd.what} ${odd.file}`);
      return found;
    },
    scrubRest: async () => scrubbed({ volume: noVolume, session: new Uint8Array(16) as SessionUid }),
  };
  return { client: client as Client, [Symbol.dispose]: () => archive[Symbol.dispose]() };
}

function opened(root: string): Archive {
  const directory = openAbsolute(root);
  try {
    return openArchive(directory);
  } catch (error) {
    directory[Symbol.dispose]();
    throw asRefused("talk to the receiver", error);
  }
}

/** As the receiver's readChunks takes it: what can't be a chunk is none. */
function lengthRead(read: () => number | undefined): number {
  try {
    return read() ?? 0;
  } catch (error) {
    if (error instanceof FormatError) return 0;
    throw error;
  }
}

function refusedAs<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw asRefused(what, error);
  }
}

function asRefused(what: string, error: unknown): unknown {
  return error instanceof RefusalError ? new RefusedError(what, error.code, error.message) : error;
}
