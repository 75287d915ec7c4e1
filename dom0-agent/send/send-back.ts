// The send that a repair makes: of volumes that hold what the archive has lost.

import type { ArchiveSettings } from "../config/settings.ts";
import { createPool } from "../pipeline/pool.ts";
import type { Context } from "../context.ts";
import { monitor } from "../monitor/monitor.ts";
import { sendLocked } from "./send.ts";
import { tidyAfterSend } from "../monitor/tidy-after-send.ts";

/** Sends the volumes to the archive, whose lock the caller has, and reports each. A volume that fails puts nothing back. */
export async function sendBack(
  context: Context,
  settings: ArchiveSettings,
  volumes: readonly string[],
): Promise<void> {
  const options = { form: "dir", committed: false, tags: [], startedAt: Date.now() } as const;
  await using pool = createPool();
  try {
    await sendLocked(context, settings, volumes, {
      ...options,
      pool,
      monitored: async () =>
        context.storage.capabilities.snapshots
          ? monitor(context, { volumes, committed: false, forSend: true })
          : [],
    });
  } finally {
    await tidyAfterSend(context, volumes);
  }
}
