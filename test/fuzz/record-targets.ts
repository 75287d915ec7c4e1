// What a receiver reads of its own making: the record of a session that is being written, that of how long it keeps what was
// pruned, and headers of tar members.

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import type { ChunkAddress, SessionName } from "../../protocol/archive/types.ts";
import { chunkPath } from "../../protocol/archive/names.ts";
import { sha256 } from "../../protocol/archive/prefix.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { openAbsolute } from "../../vm-receiver/directory.ts";
import { RefusalError } from "../../vm-receiver/errors.ts";
import { decodePending, encodePending } from "../../vm-receiver/store/pending-record.ts";
import { chunkOfMember } from "../../vm-receiver/store/tar/member-chunk.ts";
import { headerTemplate } from "../../vm-receiver/store/tar/member-header.ts";
import { memberSize } from "../../vm-receiver/store/tar/member-size.ts";
import { recordedTrashDays, recordTrashDays, trashRecord } from "../../vm-receiver/store/trash-time.ts";
import { messageBodies } from "../protocol/arbitraries.ts";
import { mutate } from "./mutate.ts";
import { bytesAt, Finding, inDirectory, orDamaged, orFormatError, type Target } from "./target.ts";

const corpusSize = 40;

export function recordTargets(seed: number): readonly Target[] {
  return [pendingRecord(seed), trashDays(), memberHeaders()];
}

function pendingRecord(seed: number): Target {
  const corpus = fc
    .sample(messageBodies.beginSession, { seed, numRuns: corpusSize })
    .map((body) => encodePending({ ...body, archive: body.volume as never }));
  return {
    name: "pending record",
    feed: (random) => {
      const mutant = mutate(random, random.pick(corpus), corpus);
      if (random.once(2) && mutant.length >= 32)
        mutant.set(sha256(mutant.subarray(0, -32)), mutant.length - 32);
      const found = orFormatError("pending record", mutant, () => encodePending(decodePending(mutant)));
      if (found !== undefined && !equalBytes(found, mutant))
        throw new Finding(`pending record: read ${toHex(mutant)} as ${toHex(found)}`);
      return 1;
    },
  };
}

function trashDays(): Target {
  return inDirectory("trash days", (directory) => {
    const path = join(directory, "trash");
    const root = openAbsolute(directory);
    const corpus = [1, 30, 36_500].map((days) => {
      rmSync(path, { force: true });
      recordTrashDays(root, days);
      return bytesAt(path);
    });
    root[Symbol.dispose]();
    return (random) => {
      const mutant = mutate(random, random.pick(corpus), corpus);
      const [line = ""] = /^.*\n?/.exec(Buffer.from(mutant).toString("latin1")) ?? [];
      const days = Number(line.slice("days = ".length));
      const input = random.once(2) && days > 0 ? Buffer.from(trashRecord(days)) : mutant;
      writeFileSync(path, input);
      using opened = openAbsolute(directory);
      const found = orDamaged("trash days", input, RefusalError, () => recordedTrashDays(opened));
      if (found !== undefined && trashRecord(found) !== Buffer.from(input).toString("latin1"))
        throw new Finding(`trash days: read ${toHex(input)} as ${found}`);
    };
  });
}

/** A header names a chunk only by that chunk's own path, and states a size that a file can have. */
function memberHeaders(): Target {
  const session = "S_20261123-101500" as SessionName;
  const path = (address: number): string => {
    const { group, file } = chunkPath(address as ChunkAddress);
    return `${session}/${group}/${file}`;
  };
  const template = headerTemplate(new Uint8Array(512), path(0));
  const corpus = [0, 65_536, 2 ** 40, 2 ** 49].map((address, i) =>
    new Uint8Array(template.fill(path(address), 77 + i)).slice(),
  );
  return {
    name: "tar member header",
    feed: (random) => {
      const mutant = new Uint8Array(512);
      mutant.set(mutate(random, random.pick(corpus), corpus).subarray(0, 512));
      if (random.once(2)) repair(mutant);
      const size = memberSize(mutant);
      if (!Number.isNaN(size) && !(Number.isSafeInteger(size) && size >= 0))
        throw new Finding(`tar member header: size ${size} in ${toHex(mutant)}`);
      const address = chunkOfMember(mutant, session);
      if (address === undefined) return 1;
      const name = Buffer.from(mutant.subarray(0, 100)).toString("latin1").replace(/\0+$/, "");
      if (name !== path(address)) throw new Finding(`tar member header: «${name}» is taken for ${address}`);
      return 1;
    },
  };
}

function repair(header: Uint8Array): void {
  header.fill(0x20, 148, 156);
  const sum = header.reduce((all, byte) => all + byte, 0);
  header.set(Buffer.from(`${sum.toString(8).padStart(6, "0")}\0 `, "latin1"), 148);
}
