// What is right and wrong with one container: what dom0 sees of its header and list, and what the receiver says of the
// rest. The receiver's word is where to look, not what is so: dom0 reads what is called damaged, and believes itself.

import type { Container } from "../../protocol/archive/index-file.ts";
import type { ChunkEntry } from "../../protocol/archive/manifest.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { Damage, DamagedFile, DamageKind } from "../../protocol/wire/messages.ts";
import type { ExpectedChunk } from "../../protocol/seal/open-chunk.ts";
import type { Verdict } from "../restore/verify-all.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { RefusedError } from "../archive/refused-error.ts";
import { isDamage } from "../archive/read-or-copy.ts";
import { checkHeader } from "../restore/check-header.ts";
import { type AddressSet, addressSet } from "./address-set.ts";
import type { ArchivedVolume } from "./archived-volume.ts";
import type { ChunkList, ListStore } from "./list-store.ts";

export interface ContainerHealth {
  readonly volume: ArchivedVolume;
  readonly container: Container;
  /** undefined: there is none, or it is not the one that the index names. */
  readonly list: ChunkList | undefined;
  /** Files that are missing or wrong, but for its chunks and its manifest. */
  readonly files: readonly FileDamage[];
  /** Damage that costs no session: headers and padding of a tar, what is dead or superseded and waits to be removed. */
  readonly spares: readonly Damage[];
  /** What is there and shouldn't be, or is left over. */
  readonly extras: readonly Damage[];
  /** Chunks that dom0 has read, or tried to, and that are not right. */
  readonly lost: Pick<AddressSet, "size" | "has"> & Iterable<ChunkAddress>;
  /** What these are: kept of the first of a group. */
  readonly contents: ReadonlyMap<ChunkAddress, LostContent>;
  /** Chunks that the receiver calls missing or corrupt, and that dom0 has not found to be right. To be asked when all
   *  manifests have been looked at, and first while the list is there. */
  claimed(): readonly ChunkAddress[];
  /** Chunks that a manifest names and its list does not, or not so. */
  readonly unlisted: ReadonlySet<ChunkAddress>;
  /** What is to be done about a chunk that a manifest names. */
  judge(entry: ChunkEntry): Verdict;
  addLost(address: ChunkAddress, content: LostContent | undefined): void;
}

/** What a lost chunk is, and the bytes of its content. */
export type LostContent = Pick<ExpectedChunk, "id" | "length">;

export interface FileDamage {
  readonly file: Exclude<DamagedFile, "chunk">;
  readonly what: DamageKind;
  /** What dom0 found, for people. */
  readonly why?: string;
}

export interface ExamineOptions {
  readonly readAll: boolean;
  readonly suspects: Pick<ReadonlySet<ChunkAddress>, "has"> | undefined;
}

/** Examines a container. `readAll`: none of its chunks is taken as right unread; nor are those of `suspects`. */
export async function examine(
  open: OpenArchive,
  volume: ArchivedVolume,
  container: Container,
  lists: ListStore,
  { readAll, suspects }: ExamineOptions,
): Promise<ContainerHealth> {
  const { index } = volume;
  const files: FileDamage[] = [];
  const session = index.sessions.find((each) => equalBytes(each.uid, container.uid));
  if (session !== undefined) {
    const why = await damageIn(checkHeader(open, index, { record: session, container }));
    if (typeof why === "string") files.push({ file: "header", what: "corrupt", why });
  }
  const found = await damageIn(lists.fetch(open, index, container));
  const list = typeof found === "string" ? undefined : found;
  if (typeof found === "string") files.push({ file: "list", what: "corrupt", why: found });
  const said = await scrubbed(open, volume, container, list);
  files.push(...said.files);
  // Something about it can't be told by its chunks one by one, so each is looked at.
  const readsAll = readAll || list === undefined || said.files.length > 0;
  const lost = addressSet();
  const contents = new Map<ChunkAddress, LostContent>();
  let claimed: readonly ChunkAddress[] | undefined;
  const unlisted = new Set<ChunkAddress>();
  return {
    volume,
    container,
    list,
    files,
    spares: said.spares,
    extras: said.extras,
    lost,
    contents,
    unlisted,
    claimed: () =>
      (claimed ??= [...said.chunks].filter((each) => lost.has(each) || list?.isMarked(each) === false)),
    judge: (entry) => {
      const address = entry.storedAddress;
      if (lost.has(address)) return "lost";
      const listed = list?.find(address);
      const fits =
        listed !== undefined &&
        listed.storedLength === entry.storedLength &&
        equalBytes(listed.checksum, entry.checksum);
      if (fits) list?.mark(address);
      else if (list !== undefined) unlisted.add(address);
      const isSuspect = said.chunks.has(address) || suspects?.has(address) === true;
      return fits && !readsAll && !isSuspect ? "right" : "read";
    },
    addLost: (address, content) => {
      lost.add(address);
      if (content !== undefined) contents.set(address, content);
    },
  };
}

interface Said {
  readonly chunks: ReadonlySet<ChunkAddress>;
  readonly files: readonly FileDamage[];
  readonly spares: readonly Damage[];
  readonly extras: readonly Damage[];
}

/** What the receiver says. Of header, manifest and list dom0 has a view of its own. */
async function scrubbed(
  open: OpenArchive,
  { index }: ArchivedVolume,
  container: Container,
  list: ChunkList | undefined,
): Promise<Said> {
  const chunks = new Set<ChunkAddress>();
  const files: FileDamage[] = [];
  const spares: Damage[] = [];
  const extras: Damage[] = [];
  try {
    const known = {
      chunks: container.chunks,
      bytes: container.storedBytes,
      canHave: (damage: Damage) =>
        equalBytes(damage.volume, index.volume) &&
        equalBytes(damage.session, container.uid) &&
        canHave(container, list, damage),
    };
    for (const each of await open.client.scrub(index.volume, container.uid, known)) {
      const { file, what } = each;
      if (what === "extra" || what === "leftover") extras.push(each);
      else if (what === "stale" || file === "member") spares.push(each);
      else if (file === "chunk") chunks.add(each.number as ChunkAddress);
      else if (file === "offsets" || file === "other") files.push({ file, what });
    }
  } catch (error) {
    if (!(error instanceof RefusedError) || !["missing", "corrupt", "io"].includes(error.code)) throw error;
    files.push({ file: "other", what: error.code === "missing" ? "missing" : "corrupt", why: error.message });
  }
  return { chunks, files, spares, extras };
}

/** Missing or corrupt is only what the index and the list name; extra, left over or stale only what they don't. */
function canHave(
  { form, manifestGeneration, listGeneration }: Container,
  list: ChunkList | undefined,
  { file, what, number }: Damage,
): boolean {
  const isNamed = what === "missing" || what === "corrupt";
  switch (file) {
    case "header":
    case "other":
      return true;
    case "manifest":
      return isNamed === (number === manifestGeneration);
    case "list":
      return isNamed === (number === listGeneration);
    case "chunk":
      return list === undefined || isNamed === (list.find(number as ChunkAddress) !== undefined);
    case "offsets":
    case "member":
      return form === "tar";
    default:
      return false;
  }
}

/** What a promise gives; where it fails because of damage, that. */
async function damageIn<T>(promise: Promise<T>): Promise<T | string> {
  try {
    return await promise;
  } catch (error) {
    if (isDamage(error)) return error.message;
    throw error;
  }
}
