// assemble: asks the backup VM to build a volume's image there.

import { containerOf } from "../../protocol/archive/index-file.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { readIndex, where } from "./archive.ts";
import type { Context } from "./context.ts";
import { openDestination } from "./destination.ts";

export interface AssembleRequest {
  readonly volume: string;
  /** `S_…`, or a tag; undefined: the last. */
  readonly session: string | undefined;
  /** Relative to the mountpoint; empty: `assembled/` below the archive. */
  readonly saveTo: string;
  readonly replace: boolean;
}

/** Has the image built; gives its session and the SHA-256 that the VM says it has. */
export async function assemble(
  context: Context,
  settings: ArchiveSettings,
  request: AssembleRequest,
): Promise<{ readonly session: string; readonly size: number; readonly imageDigest: string }> {
  const open = await openDestination(context, settings, "sparsebak.Assemble", async () => false);
  if (open === undefined)
    throw new AgentError("failed", `assemble: there is no archive at ${where(settings)}`);
  await using client = open.client;
  const known = open.record.volumes.find((each) => each.name === request.volume);
  const index = known && (await readIndex(open, known.id));
  if (index === undefined)
    throw new AgentError("failed", `assemble: the archive has no volume ${request.volume}`);
  const wanted = request.session;
  const session = index.sessions.findLast(
    (each) =>
      wanted === undefined || containerOf(index, each.uid)?.name === wanted || each.tags.includes(wanted),
  );
  const name = session && containerOf(index, session.uid)?.name;
  if (session === undefined || name === undefined) {
    throw new AgentError(
      "failed",
      `assemble: ${request.volume} has no session ${wanted ?? ""}`,
      "see sparsebak list",
    );
  }
  client.onProgress = (bytes) => context.report.progress(request.volume, bytes, session.size);
  const { saveTo, replace } = request;
  const done = await client.ask("assemble", { volume: index.volume, session: session.uid, saveTo, replace });
  if (done.size !== session.size) {
    throw new AgentError("integrity", `assemble: the VM says ${done.size} bytes, wanted ${session.size}`);
  }
  await client.close();
  return { session: name, size: done.size, imageDigest: toHex(done.imageDigest) };
}
