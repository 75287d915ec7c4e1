// What `check --read-data` reads of an archive, by its own functions, in one process: all of it, or only what one file is
// part of. The difference to the command is that chunks are fetched and opened here and not in threads.

import { listStore } from "../../dom0-agent/check/list-store.ts";
import { readVolumes } from "../../dom0-agent/check/archived-volume.ts";
import { checkCopies } from "../../dom0-agent/check/copies.ts";
import { type ContainerHealth, examine } from "../../dom0-agent/check/container-health.ts";
import { AgentError } from "../../dom0-agent/errors.ts";
import { openChunk } from "../../protocol/seal/open-chunk.ts";
import { allSessions } from "../../dom0-agent/restore/find-session.ts";
import { sessionMap } from "../../dom0-agent/restore/session-map.ts";
import type { OpenArchive } from "../../dom0-agent/archive/archive.ts";
import { RefusedError } from "../../dom0-agent/archive/refused-error.ts";
import { openArchive } from "../../dom0-agent/archive/open-archive.ts";
import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import { type ChunkEntry, chunkLength, type ContainerRef } from "../../protocol/archive/manifest.ts";
import { toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { type Damage, isDamage } from "../../protocol/wire/messages.ts";
import { chunkOpener } from "../../protocol/seal/chunk-seal.ts";
import { receiverInProcess } from "./receiver-in-process.ts";
import type { SealedSample } from "./sealed-sample.ts";

export interface Seen {
  /** What check calls damaged. */
  readonly damage: readonly string[];
  /** What it only says: what nothing names, what is left over, what waits in the trash. */
  readonly said: readonly string[];
  /** What every session is: sizes, ids of chunks that were opened. */
  readonly content: string;
}

/** Opens the archive as it lies there now, as every command does. Throws AgentError. */
export async function openNow(sample: SealedSample): Promise<OpenArchive & Disposable> {
  const { settings, context } = sample;
  const receiver = receiverInProcess(sample.root);
  try {
    const open = await openArchive(receiver.client, settings, context.state.archive(settings.name), {
      create: async () => false,
      acceptRollback: async () => false,
      warn: (message) => {
        throw new Error(message);
      },
      holdsLock: true,
    });
    if (open === undefined) throw new AgentError("integrity", "there is no archive any more");
    if (open.headerLost !== undefined) throw new AgentError("integrity", open.headerLost);
    return Object.assign(open, { [Symbol.dispose]: () => receiver[Symbol.dispose]() });
  } catch (error) {
    receiver[Symbol.dispose]();
    throw error;
  }
}

/** Everything. What check would end with is damage too. */
export async function look(sample: SealedSample): Promise<Seen> {
  try {
    using open = await openNow(sample);
    return await lookThrough(open);
  } catch (error) {
    if (!(error instanceof AgentError) || error.reason !== "integrity") throw error;
    return { damage: [error.message], said: [], content: "" };
  }
}

async function lookThrough(open: OpenArchive): Promise<Seen> {
  const { groups, lost } = await readVolumes(open);
  const copies = await checkCopies(open);
  const damage = [...lost, ...copies.damaged].map(({ why }) => why);
  const said: string[] = [...copies.uncopied];
  const content: string[] = [];
  for (const { volumes } of groups) {
    using lists = listStore(open.paths.directory);
    const healths = new Map<string, ContainerHealth>();
    for (const volume of volumes) {
      for (const container of volume.index.containers) {
        const health = await examine(open, volume, container, lists, { readAll: true, suspects: undefined });
        healths.set(toHex(volume.index.volume) + toHex(container.uid), health);
      }
    }
    for (const { index } of volumes) {
      for (const session of allSessions(index)) {
        const what = `${index.name} ${session.container.name}`;
        try {
          content.push(what, ...(await readSession(open, index, session, healths)));
        } catch (error) {
          if (!(error instanceof AgentError) || error.reason !== "integrity") throw error;
          damage.push(`${what}: ${error.message}`);
        }
      }
    }
    for (const health of healths.values()) {
      const { name } = health.container;
      for (const { file, what, why } of health.files) damage.push(why ?? `${name}: ${file} is ${what}`);
      if (health.unlisted.size > 0) damage.push(`${name}: ${health.unlisted.size} chunks are not listed`);
      const bad = new Set([...health.lost, ...health.claimed()]);
      if (bad.size > 0) damage.push(`${name}: ${bad.size} chunks are lost`);
      damage.push(...health.spares.map((each) => `${name}: ${textOf(each)}`));
      said.push(...health.extras.map((each) => `${name}: ${textOf(each)}`));
    }
  }
  for (const each of await open.client.scrubRest()) (isDamage(each) ? damage : said).push(textOf(each));
  return { damage, said: said.sort(), content: content.join(" ") };
}

function textOf({ file, what, volume, number }: Damage): string {
  return `${file} ${number} of ${toHex(volume)} is ${what}`;
}

async function readSession(
  open: OpenArchive,
  index: VolumeIndex,
  session: ReturnType<typeof allSessions>[number],
  healths: ReadonlyMap<string, ContainerHealth>,
): Promise<readonly string[]> {
  using map = await sessionMap(open, index, session);
  const content = [String(map.size)];
  for (const { entry, address, run } of map.steps()) {
    content.push(`${address}+${run}`);
    if (entry?.kind !== "chunk") continue;
    const ref = map.containers[entry.container - 1];
    if (ref === undefined) throw new RangeError(`container ${entry.container}`);
    const health = healths.get(toHex(ref.volume) + toHex(ref.session));
    health?.judge(entry);
    try {
      await readChunk(open, index, ref, { ...entry, address }, map.size);
      content.push(toHex(entry.id));
    } catch (error) {
      if (!(error instanceof AgentError) || error.reason !== "integrity" || health === undefined) throw error;
      health.addLost(entry.storedAddress, undefined);
    }
  }
  return content;
}

/** Fetches and opens a chunk. Throws AgentError `integrity` where it is missing or damaged, or its container is. */
export async function readChunk(
  open: OpenArchive,
  { group }: VolumeIndex,
  ref: ContainerRef,
  entry: ChunkEntry,
  size: number,
): Promise<void> {
  const { idKey, sealed } = open.seal.chunkKeys(group);
  if (sealed === undefined) throw new Error("not sealed");
  const expected = { ...entry, length: chunkLength(entry.address, size, open.record.chunkSize) };
  try {
    await open.client.readChunks(ref.volume, ref.session, [entry.storedAddress], (_, untrusted) => {
      if (untrusted === undefined) throw new FormatError("bad-value", "a chunk is missing");
      openChunk(untrusted, expected, idKey, chunkOpener(sealed.groupKey, sealed.archive));
      return undefined;
    });
  } catch (error) {
    const refused = error instanceof RefusedError && (error.code === "missing" || error.code === "corrupt");
    if (!refused && !(error instanceof FormatError)) throw error;
    throw new AgentError("integrity", error.message);
  }
}
