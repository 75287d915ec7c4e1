// assemble: asks the backup VM to build a volume's image there.

import { containerOf, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import { toHex } from "../../protocol/bytes.ts";
import { encodeReadKey, readKeyOf } from "../../protocol/seal/read-key.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { readMasterKey } from "../keys/master-key.ts";
import { lockForReading } from "../state/lock.ts";
import { type OpenArchive, where } from "./archive.ts";
import { alsoOpened, indexOf } from "./archive-view.ts";
import type { Context } from "./context.ts";
import { openDestination } from "./destination.ts";
import { ifMovedOn } from "./moved-on.ts";

export interface AssembleRequest {
  readonly volume: string;
  /** `S_…`, or a tag; undefined: the last. */
  readonly session: string | undefined;
  /** Relative to the mountpoint; empty: `assembled/` below the archive. */
  readonly saveTo: string;
  readonly replace: boolean;
  /** Give the VM the key that reads the volume, where the archive is sealed. */
  readonly reveal: boolean;
}

/** Without its key the VM can't read a sealed volume; with it, it can for good, which is said (design section 8). */
async function revealKey(
  context: Context,
  open: OpenArchive,
  index: VolumeIndex,
  request: AssembleRequest,
): Promise<void> {
  if (!open.record.sealed) return;
  if (!request.reveal)
    throw new AgentError(
      "usage",
      `assemble: the archive is sealed, and its VM has no key to read ${request.volume} with`,
      "--reveal gives it the volume's read key, for good; sparsebak receive restores without",
    );
  context.report.warn(
    `${request.volume}: the VM is given its read key: it can read the volume from now on, sessions to come too`,
  );
  const others = await alsoOpened(open, index);
  if (others !== undefined) context.report.warn(`${request.volume}: ${others}`);
  const { archive, volume, group } = index;
  const key = encodeReadKey(readKeyOf(readMasterKey(open.paths), { archive, volume, group }));
  await open.client.ask("reveal", { key });
}

/** Has the image built; gives its session and the SHA-256 that the VM says it has. */
export async function assemble(
  context: Context,
  settings: ArchiveSettings,
  request: AssembleRequest,
): Promise<{ readonly session: string; readonly size: number; readonly imageDigest: string }> {
  using _readers = await lockForReading(context.state.archive(settings.name), "assemble");
  const open = await openDestination(context, settings, "sparsebak.Assemble", async () => false);
  if (open === undefined)
    throw new AgentError("failed", `assemble: there is no archive at ${where(settings)}`);
  await using client = open.client;
  const index = await indexOf(open, request.volume);
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
  await revealKey(context, open, index, request);
  client.onProgress = (bytes) => context.report.progress(request.volume, bytes, session.size);
  const { saveTo, replace } = request;
  const asked = { volume: index.volume, session: session.uid, saveTo, replace };
  const done = await client.ask("assemble", asked, session.size).catch(async (error: unknown) => {
    throw await ifMovedOn(context, open, "assemble", error);
  });
  if (done.size !== session.size) {
    throw new AgentError("integrity", `assemble: the VM says ${done.size} bytes, wanted ${session.size}`);
  }
  await client.close();
  return { session: name, size: done.size, imageDigest: toHex(done.imageDigest) };
}
