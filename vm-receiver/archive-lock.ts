// One writer per archive: flock on the file `lock`, held for the whole connection. The lock belongs to the open file, so
// it stays when flock(1) has ended and goes with our process, however that ends.

import { closeSync, constants, openSync } from "node:fs";
import { fileNames } from "../protocol/archive/names.ts";
import type { Directory } from "./directory.ts";
import { RefusalError } from "./errors.ts";
import { runOn } from "./tools.ts";

/** A receiver whose agent has died stores what is still in its pipe, then goes: whoever comes right behind it waits. */
const waitSeconds = 3;

/** Takes the archive's lock, at the latest in a few seconds. Throws RefusalError `busy` when another run holds it longer,
 *  `unsupported` where the file system has no locks. */
export async function lockArchive(root: Directory): Promise<Disposable> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const fd = openSync(root.at(fileNames.lock), flags, 0o600);
  const { exitCode, problem } = await runOn(fd, "flock", ["--exclusive", "--wait", String(waitSeconds), "0"]);
  if (exitCode === 0) return { [Symbol.dispose]: () => closeSync(fd) };
  closeSync(fd);
  if (exitCode === 1) throw new RefusalError("busy", "another run is writing to this archive");
  throw new RefusalError("unsupported", `the archive can't be locked: flock: ${problem}`);
}
