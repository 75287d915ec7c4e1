// What dom0's state can come to on real thin volumes (state.ts): every session that was made meanwhile is what the volume
// was, and there are no others.

import { join } from "node:path";
import { expect, test } from "vitest";
import { tempDir } from "../../support/temp-dir.ts";
import { sessionsOf, unpack } from "./assembled-here.ts";
import { runProgram, someOf } from "./run-program.ts";

/** Files of a send that was killed, each lost or damaged in its way, by their numbers in state.ts. */
const killed = someOf(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], 3);

test.each([
  { part: "damagedFiles", cases: killed },
  { part: "olderCopy", cases: [] },
  { part: "revertedVolume", cases: [] },
  { part: "joined", cases: [] },
])("$part $cases", async ({ part, cases }) => {
  using share = tempDir();
  const said = await runProgram("state", [part, share.path, ...cases], [share.path]);
  unpack(share.path, "archive.tar");
  for (const volume of ["vm-work-private", "vm-mail-private"]) {
    const sent = [...said.matchAll(/^sent (\S+) (S_\S+) (\w{64})$/gm)].filter((each) => each[1] === volume);
    expect(sent).not.toEqual([]);
    // Of sends that were killed when they had committed.
    const others = [...said.matchAll(/^may be (\S+) (\w{64})$/gm)].filter((each) => each[1] === volume);
    const wanted = new Map(sent.map(([, , session = "", digest = ""]) => [session, digest]));
    const found = sessionsOf(join(share.path, "backups", volume));
    expect(found.length).toBe(sent.length + others.length);
    for (const [session, digest] of found) {
      if (wanted.has(session)) expect(digest, `${volume} ${session}`).toBe(wanted.get(session));
      else
        expect(
          others.map((each) => each[2]),
          `${volume} ${session}`,
        ).toContain(digest);
    }
  }
});
