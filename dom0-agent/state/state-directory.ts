// The state directory holds the key, and what dom0 believes of its archives: whoever can write to it can put other files
// in place of those, and is believed as well.

import { type Stats, statSync } from "node:fs";
import { AgentError } from "../errors.ts";
import { makeDirectory } from "./writing.ts";

/** Makes the state directory where it is not there. Throws AgentError `failed` where that can't be done, and for one that
 *  somebody but us and root can write to. */
export function openStateDirectory(path: string): void {
  let stat: Stats;
  try {
    makeDirectory(path);
    stat = statSync(path);
  } catch (error) {
    throw new AgentError("failed", `make the state directory ${path}: ${(error as Error).message}`);
  }
  const ours = stat.uid === process.geteuid?.() || stat.uid === 0;
  if (ours && (stat.mode & 0o022) === 0) return;
  throw new AgentError(
    "failed",
    `state directory ${path}: found mode ${(stat.mode & 0o7777).toString(8)}, owner ${stat.uid}, wanted one that only we can write to`,
    ours
      ? `chmod go-w ${path}, or keep the settings and the state in a directory of their own`
      : "keep the settings and the state in a directory of your own",
  );
}
