// A receiver that removes millions of files answers when the last of them is gone: until then what keeps it is how far it
// says that it has come, and heartbeats alone do not.

import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { SessionUid } from "../../../protocol/archive/types.ts";
import { encodeFrame } from "../../../protocol/wire/frame.ts";
import { memoryClient, memoryReceiver } from "../../support/memory-receiver.ts";

const stallSeconds = 2;
const beats = 30;
const beatMilliseconds = 150;

/** Discards through a receiver that beats for longer than the client waits without progress, and is done then. */
async function discard(bytesABeat: number): Promise<void> {
  const receiver = memoryReceiver((asked, say) => {
    if (asked.type !== "discard") return;
    void (async () => {
      for (let i = 1; i <= beats; i++) {
        say(encodeFrame("progress", asked.id, { bytes: i * bytesABeat, chunks: i }));
        await sleep(beatMilliseconds);
      }
      say(encodeFrame("done", asked.id, { bytes: 0 }));
    })();
  });
  await using client = await memoryClient(receiver, "sparsebak.Send", stallSeconds);
  await client.ask("discard", { directory: "vm-work", session: new Uint8Array(16) as SessionUid });
}

test("a discard that gets on may take longer than a receiver may stand still", async () => {
  await discard(1_000_000);
});

test("one that only beats is given up on", async () => {
  await expect(discard(0)).rejects.toThrow(/no progress for 2 s/);
});
