// Monitor and send killed on real thin volumes, at what they do (kills.ts). Every session that there is afterwards, of
// both archives, is what the volume was.

import { join } from "node:path";
import { expect, test } from "vitest";
import { tempDir } from "../../support/temp-dir.ts";
import { sessionsOf, unpack } from "./assembled-here.ts";
import { long, runProgram } from "./run-program.ts";

/** Kills of each, spread over all that it does, from a random place on. */
const kills = 3;
/** Or at each so many-th thing. */
const stride = Number(process.env["SPARSEBAK_KILL_STRIDE"] ?? (long ? 1 : 0));
const offset = Math.floor(Math.random() * 2 ** 31);

test.each(["monitor", "send"])(
  `%s killed ${stride > 0 ? `at each ${stride}. thing` : `${kills} times on its way`}`,
  async (command) => {
    using share = tempDir();
    const args = [command, kills, stride, offset, share.path].map(String);
    const said = await runProgram("kills", args, [share.path]);
    expect(said.match(/^ok \d+$/gm)?.length).toBeGreaterThanOrEqual(kills);
    unpack(share.path, "archives.tar");
    for (const [directory, dest] of [
      ["backups", "default"],
      ["second", "second"],
    ] as const) {
      const sent = [...said.matchAll(/^sent (\S+) (S_\S+) (\w{64})$/gm)].filter((each) => each[1] === dest);
      const wanted = new Map(sent.map(([, , session = "", digest = ""]) => [session, digest]));
      // Of the send that was counted, or one that was killed, where it had come that far, or once it went on.
      const others = [...said.matchAll(/^may be (\w{64})$/gm)].map((each) => each[1]);
      const found = sessionsOf(join(share.path, directory, "vm-work-private"));
      expect(found.map(([session]) => session)).toEqual(expect.arrayContaining([...wanted.keys()]));
      for (const [session, digest] of found) {
        if (wanted.has(session)) expect(digest, `${dest} ${session}`).toBe(wanted.get(session));
        else expect(dest === "default" ? others : [], `${dest} ${session}`).toContain(digest);
      }
    }
  },
);
