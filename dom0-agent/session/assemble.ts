// assemble: asks the backup VM to build a volume's image there.

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import { assembledFile, fileNames } from "../../protocol/archive/names.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { encodeReadKey, readKeyOf } from "../../protocol/seal/read-key.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { readMasterKey } from "../keys/master-key.ts";
import { findSession, type FoundSession } from "../restore/find-session.ts";
import { lockForReading } from "../state/lock.ts";
import { type OpenArchive, where } from "../archive/archive.ts";
import { alsoOpened, indexOf } from "../archive/archive-view.ts";
import { RefusedError } from "../archive/refused-error.ts";
import type { Context } from "../context.ts";
import { openDestination } from "../archive/destination.ts";
import { ifMovedOn } from "../archive/moved-on.ts";

export interface AssembleRequest {
  readonly volume: string;
  /** As findSession takes it; undefined: the last. */
  readonly session: string | undefined;
  /** Relative to the mountpoint; empty: `assembled/` below the archive. */
  readonly saveTo: string;
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

/** What was built, and the SHA-256 that the VM says it has. */
export interface Assembly {
  readonly session: string;
  /** Where the image is: the VM, and the path in it. */
  readonly image: string;
  readonly size: number;
  readonly imageDigest: string;
}

/** Has the image built. Nothing that is there already is replaced. */
export async function assemble(
  context: Context,
  settings: ArchiveSettings,
  request: AssembleRequest,
): Promise<Assembly> {
  using _readers = await lockForReading(context.state.archive(settings.name), "assemble");
  const open = await openDestination(context, settings, "sparsebak.Assemble", async () => false);
  if (open === undefined)
    throw new AgentError("failed", `assemble: there is no archive at ${where(settings)}`);
  await using client = open.client;
  const index = await indexOf(open, request.volume);
  const session = findSession(index, request.session);
  const image = imagePath(settings, open, index, session, request);
  await revealKey(context, open, index, request);
  const { size } = session.record;
  client.onProgress = (bytes) => context.report.progress(request.volume, bytes, size);
  const { saveTo } = request;
  const asked = { volume: index.volume, session: session.record.uid, saveTo };
  const done = await client.ask("assemble", asked, size).catch(async (error: unknown) => {
    if (error instanceof RefusedError && error.code === "exists")
      throw new AgentError(
        "failed",
        `assemble: ${image} is there already`,
        "nothing there is replaced: name another place with --save-to, or remove it in the VM",
      );
    throw await ifMovedOn(context, open, "assemble", error);
  });
  if (done.size !== size) {
    throw new AgentError("integrity", `assemble: the VM says ${done.size} bytes, wanted ${size}`);
  }
  await client.close();
  return { session: session.container.name, image, size, imageDigest: toHex(done.imageDigest) };
}

function imagePath(
  settings: ArchiveSettings,
  open: OpenArchive,
  { volume }: VolumeIndex,
  { container }: FoundSession,
  { saveTo }: AssembleRequest,
): string {
  if (saveTo !== "") return where({ ...settings, directory: saveTo });
  const directory = open.head.volumes.find((each) => equalBytes(each.volume, volume))?.directory ?? "";
  return `${where(settings)}/${fileNames.assembled}/${assembledFile(directory, container.name)}`;
}
