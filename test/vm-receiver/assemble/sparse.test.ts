// Files of the archive that are huge and hold nothing, on a drive that was prepared: they cost no hours, and where
// something has to be read for long, ^C ends it.

import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { expect, test } from "vitest";
import { createTestArchive, type TestArchive } from "../../support/archive-writer.ts";
import { makePrune } from "../../support/prune-writer.ts";
import { ended, noise, run, scratch, start } from "./support.ts";

const TiB = 2 ** 40;

function made(): TestArchive {
  const archive = createTestArchive(join(scratch(), "archive"));
  archive.send({ work: noise(3) });
  archive.send({ work: noise(3) });
  return archive;
}

test("a manifest of a tebibyte is not that of the index: said at once", { timeout: 20_000 }, async () => {
  const archive = made();
  truncateSync(join(archive.sessionsOf("work")[1]!.path, "manifest.2"), TiB);
  const ran = await run([archive.volumePath("work"), "--verify"]);
  expect(ran).toMatchObject({ status: 5 });
  expect(ran.stderr).toContain("manifest is damaged: its digest is not the one that the index names");
});

test.each(["--scrub", "--untrash"])(
  "%s ends at ^C in the middle of a file",
  { timeout: 20_000 },
  async (option) => {
    const archive = made();
    if (option === "--untrash") {
      // A head in which the volume is gone, so that the older ones are looked at.
      mkdirSync(join(archive.path, "dead"));
      for (const { name, bytes } of makePrune(archive.path, { remove: ["work"] }).puts)
        writeFileSync(
          join(archive.path, name.kind === "head" ? "heads" : "dead", String(name.generation)),
          bytes,
        );
    }
    truncateSync(join(archive.sessionsOf("work")[0]!.path, "list"), TiB);
    const child = start([option, archive.path]);
    const end = ended(child);
    await pause(1500);
    child.kill("SIGINT");
    const ran = await end;
    expect(ran).toMatchObject({ status: 130 });
    expect(ran.stderr).toContain("stopped by SIGINT");
  },
);
