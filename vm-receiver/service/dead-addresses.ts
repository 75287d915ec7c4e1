// Which chunks of a container really go: those of the dead list that the container's current list does not name. Both rise
// by address and are walked side by side.

import type { DeadContainer } from "../../protocol/archive/dead-file.ts";
import type { Container } from "../../protocol/archive/index-file.ts";
import { listHeadBytes, listRecordBytes, listTailBytes } from "../../protocol/archive/list-file.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import type { Directory } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { corruptUnless } from "../store/archive.ts";
import { listRecords } from "../store/list-records.ts";
import { stores } from "../store/stores.ts";
import { stateOfFile } from "../store/whole-file.ts";

export interface DeadAddresses extends Disposable {
  /** Rising. Throws FormatError where the list turns out to be damaged. */
  readonly all: Iterable<ChunkAddress>;
}

/** The addresses; `current` is the container as the current head has it, undefined where it has none. RefusalError
 *  `corrupt` where its list is not, byte for byte, the one that the index names. */
export async function deadAddresses(
  directory: Directory,
  dead: DeadContainer,
  current: Container | undefined,
  chunkSize: number,
): Promise<DeadAddresses> {
  if (current === undefined) return { all: addressesOf(dead, chunkSize), [Symbol.dispose]: () => {} };
  const { name, form, listGeneration: generation, listDigest } = current;
  const list = corruptUnless("the list of a container", () =>
    stores[form].open(directory, name, { kind: "list", generation }),
  );
  if (list === undefined) throw new RefusalError("corrupt", "the list of a container is not there");
  try {
    if ((await stateOfFile(list, listDigest)) !== "whole")
      throw new RefusalError("corrupt", "the list of a container is damaged");
  } catch (error) {
    list[Symbol.dispose]();
    throw error;
  }
  const records = Math.floor((list.length - listHeadBytes - listTailBytes) / listRecordBytes);
  return {
    all: without(addressesOf(dead, chunkSize), listRecords(list, records)),
    [Symbol.dispose]: () => list[Symbol.dispose](),
  };
}

function* addressesOf({ chunks }: DeadContainer, chunkSize: number): Generator<ChunkAddress, void, void> {
  for (const { address, count } of chunks) {
    for (let i = 0; i < count; i++) yield (address + i * chunkSize) as ChunkAddress;
  }
}

function* without(
  addresses: Iterable<ChunkAddress>,
  records: Iterator<{ readonly address: ChunkAddress }, void, void>,
): Generator<ChunkAddress, void, void> {
  let record = records.next().value ?? undefined;
  for (const address of addresses) {
    while (record !== undefined && record.address < address) record = records.next().value ?? undefined;
    if (record?.address !== address) yield address;
  }
}
