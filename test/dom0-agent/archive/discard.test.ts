// A receiver that removes millions of files answers when the last of them is gone: until then what keeps it is how far it
// says that it has come, and heartbeats alone do not.

import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { connect } from "../../../dom0-agent/archive/client.ts";
import type { ArchiveUuid, SessionUid } from "../../../protocol/archive/types.ts";
import { encodeFrame } from "../../../protocol/wire/frame.ts";
import { polite } from "../../support/memory-receiver.ts";

const stallSeconds = 2;
const beats = 30;
const beatMilliseconds = 150;

/** Discards through a receiver that beats for longer than the client waits without progress, and is done then. */
async function discard(bytesABeat: number): Promise<void> {
  const beat = async (id: number): Promise<void> => {
    for (let i = 1; i <= beats; i++) {
      receiver.say(encodeFrame("progress", id, { bytes: i * bytesABeat, chunks: i }));
      await sleep(beatMilliseconds);
    }
    receiver.say(encodeFrame("done", id, { bytes: 0 }));
  };
  const receiver = polite((asked) => {
    if (asked.type === "discard") void beat(asked.id);
    return [];
  });
  await using client = await connect({
    transport: receiver,
    service: "sparsebak.Send",
    where: { mountpoint: "/mnt", directory: "d", archive: new Uint8Array(16) as ArchiveUuid },
    stallSeconds,
    signal: new AbortController().signal,
  });
  await client.ask("discard", { directory: "vm-work", session: new Uint8Array(16) as SessionUid });
}

test("a discard that gets on may take longer than a receiver may stand still", async () => {
  await discard(1_000_000);
});

test("one that only beats is given up on", async () => {
  await expect(discard(0)).rejects.toThrow(/no progress for 2 s/);
});
