// A drive on which a symbolic link stands in the place of what a sweep or a discard removes: it is not followed, what it
// points at stays, byte for byte and block for block, and is not said to have come free (design section 6).

import { execFileSync } from "node:child_process";
import { lstatSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { SessionUid } from "../../../protocol/archive/types.ts";
import { createTestArchive } from "../../support/archive-writer.ts";
import { makePrune } from "../../support/prune-writer.ts";
import { begin, sendChunks, sendSession, sendState, sourceState } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, sourceArchive } from "../site.ts";

/** Moves what lies at a path out of the archive, and puts a link to it in its place. */
function linkAway(path: string, outside: string): void {
  renameSync(path, outside);
  symlinkSync(outside, path);
}

/** Every path below (or at) this one, with the room that it takes and what it holds. */
function everything(path: string): string {
  const of = (...args: readonly string[]): string =>
    execFileSync("find", [path, ...args], { encoding: "utf8" })
      .split("\n")
      .sort()
      .join("\n");
  return of("-printf", "%p %y %s %b\n") + of("-type", "f", "-exec", "sha256sum", "{}", "+");
}

const first = "S_20261123-101500";

describe("a sweep", () => {
  /** What is linked away, the form, its path below the archive, whether one session of `work` goes or all of it, and the
   *  answer: where a directory is a link nothing goes on; one in place of a file is nothing of ours and stays, but for
   *  that of a tar, which goes itself. */
  test.each([
    ["the volume's directory", "dir", "work", "drop", "refused"],
    ["the directory of a volume that goes", "dir", "work", "remove", "refused"],
    ["a session's directory", "dir", `work/${first}`, "drop", "refused"],
    ["a session's directory, of a volume that goes", "dir", `work/${first}`, "remove", "refused"],
    ["a group of chunks", "dir", `work/${first}/000000000`, "drop", "refused"],
    ["a chunk", "dir", `work/${first}/000000000/x0000000000040000`, "drop", "done"],
    ["a manifest", "dir", `work/${first}/manifest.1`, "drop", "done"],
    ["an index", "dir", "work/index.1", "drop", "done"],
    ["a head", "dir", "heads/1", "drop", "done"],
    ["a tar whose chunks are punched", "tar", `work/${first}.tar`, "drop", "done"],
    ["a tar that goes", "tar", `work/${first}.tar`, "remove", "done"],
  ] as const)("with a link in place of %s", async (_, form, path, what, ends) => {
    using site = receiverSite();
    const source = createTestArchive(site.archive);
    const image = randomImage(24);
    source.send({ home: randomImage(8), work: image }, { form });
    const next = image.slice();
    next.set(randomImage(8), 4 * 65_536);
    source.send({ work: next }, { form });
    const prune = makePrune(
      site.archive,
      what === "remove"
        ? { remove: ["work"] }
        : { drop: (_session, { name }, volume) => volume === "work" && name === first },
    );
    {
      await using client = site.start("sparsebak.Prune");
      await client.hello(site.mountpoint, archiveDirectory);
      for (const { name, bytes } of prune.puts) await client.put(name, bytes);
      await client.ask("commit", prune.commit, "committed");
      await client.goodbye();
    }
    const outside = join(site.path, "outside");
    linkAway(join(site.archive, path), outside);
    const before = everything(outside);
    await using client = site.start("sparsebak.Prune");
    await client.hello(site.mountpoint, archiveDirectory);
    const answer = await client.ask("sweep", {}, ends);
    expect(everything(outside)).toBe(before);
    const isThere = lstatSync(join(site.archive, path), { throwIfNoEntry: false })?.isSymbolicLink() === true;
    expect(isThere).toBe(path !== `work/${first}.tar` || what === "drop");
    // The other tar is smaller by far.
    if (form === "tar" && answer.type === "done")
      expect(answer.body.bytes).toBeLessThan(512 * lstatSync(outside).blocks);
  });
});

describe("a discard", () => {
  test.each([
    ["the volume's directory", "dir", "work", "part"],
    ["what is unfinished", "dir", "work/NAME.part", "part"],
    ["what is unfinished of a tar", "tar", "work/NAME.tar.part", "part"],
    ["a group of chunks", "dir", "work/NAME.part/000000000", "part"],
    ["the note of whose it is", "dir", "work/NAME.part/pending", "part"],
    ["a finished session", "dir", "work/NAME", "finished"],
    ["a finished tar", "tar", "work/NAME.tar", "finished"],
  ] as const)("with a link in place of %s", async (_, form, path, state) => {
    using site = receiverSite();
    const image = randomImage(12);
    const source = sourceArchive(site, [image, image.map((byte) => byte ^ 1)], form);
    const [session] = sourceState(source.path, 2).sessions;
    {
      await using client = site.start();
      await client.hello(site.mountpoint, archiveDirectory);
      await sendState(client, source.path, 1);
      if (state === "finished") {
        await sendSession(client, session!);
      } else {
        await begin(client, session!);
        await sendChunks(client, session!, 5);
      }
      client.end();
      await client.ended;
    }
    const outside = join(site.path, "outside");
    linkAway(join(site.archive, path.replace("NAME", session!.begin.name)), outside);
    const before = everything(outside);
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    // By its uid, and as one that does not say whose it is.
    for (const uid of [session!.container.uid, new Uint8Array(16) as SessionUid])
      await client.ask("discard", { directory: "work", session: uid }, "refused");
    expect(everything(outside)).toBe(before);
  });
});
