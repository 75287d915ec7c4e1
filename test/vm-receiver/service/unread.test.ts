// A caller that asks and never reads: what is said to it waits in the receiver's memory, so there must be little of it. The
// output is one that takes nothing, as a pipe that is full.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { encodeFrame, encodePreamble, type Frame, frameDecoder } from "../../../protocol/wire/frame.ts";
import { defaultSettings } from "../../../vm-receiver/config/settings.ts";
import { type Connection, serveConnection } from "../../../vm-receiver/service/connection.ts";
import { noUuid } from "../../support/agent-client.ts";
import { archiveDirectory, receiverSite, type ReceiverSite } from "../site.ts";

interface Served {
  readonly connection: Connection;
  readonly said: Frame[];
  /** Bytes that nobody has read, as the receiver sees it. */
  unread: number;
}

/** A receiver that has been greeted, with so many leftovers; what it says from then on is not read. */
async function served(site: ReceiverSite, leftovers: number): Promise<Served> {
  for (let i = 0; i < leftovers; i++)
    mkdirSync(join(site.archive, "work", `S_20261123-${String(100_000 + i)}.part`), { recursive: true });
  const decoder = frameDecoder("receiver");
  const said: Frame[] = [];
  const never = new Promise<void>(() => undefined);
  const state = { unread: 0 };
  const connection = serveConnection({
    service: "sparsebak.Send",
    admission: { admitted: true, settings: { ...defaultSettings, plainDirectories: [site.mountpoint] } },
    output: {
      write: async (bytes) => {
        for (const frame of decoder.push(bytes)) said.push(structuredClone(frame));
        return never;
      },
      get backlog() {
        return state.unread;
      },
      end: async () => undefined,
    },
    log: () => undefined,
  });
  connection.take(encodePreamble());
  const asked = {
    service: "sparsebak.Send",
    mountpoint: site.mountpoint,
    directory: archiveDirectory,
  } as const;
  connection.take(encodeFrame("agentHello", 1, { ...asked, archive: noUuid }));
  await vi.waitFor(() => expect(said.map(({ type }) => type)).toContain("receiverHello"), 10_000);
  return Object.assign(state, { connection, said });
}

test("leftovers are listed one by one, each once the one before has left", async () => {
  using site = receiverSite();
  const { connection, said } = await served(site, 50);
  connection.take(encodeFrame("listPending", 2, {}));
  await sleep(200);
  expect(said.filter(({ type }) => type === "pending")).toHaveLength(1);
  connection.stop(3);
  expect(await connection.finished).toBe(3);
}, 20_000);

test("who asks on and reads nothing is given up on", async () => {
  using site = receiverSite();
  const asking = await served(site, 0);
  asking.unread = 3 * 1024 * 1024;
  asking.connection.take(encodeFrame("listPending", 2, {}));
  await vi.waitFor(() => expect(asking.said.at(-1)).toMatchObject({ type: "done", id: 2 }));
  asking.unread = 5 * 1024 * 1024;
  asking.connection.take(encodeFrame("listPending", 3, {}));
  expect(asking.said.at(-1)).toMatchObject({ type: "aborted", body: { code: "stalled" } });
  expect(await asking.connection.finished).toBe(1);
}, 20_000);
