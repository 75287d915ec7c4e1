// sparsebak.Assemble: builds an image in this VM. The place it goes to is opened below the mountpoint, component by
// component, like everything else.

import { fstatSync } from "node:fs";
import { assembledFile, fileNames, parseArchiveFile } from "../../protocol/archive/names.ts";
import { FormatError } from "../../protocol/errors.ts";
import type { Assemble, Assembled, Refusal } from "../../protocol/wire/messages.ts";
import { AssembleError, type AssembleErrorCode, assembleVolume } from "../assemble/assemble.ts";
import { type Directory, ensureDirectory, namesIn, openBelow } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { statOf } from "../files.ts";
import { type Archive, containerOfUid } from "../store/archive.ts";
import { assembleWithKey, withoutDescriptors } from "./assemble-with-key.ts";
import type { Destination } from "./destination.ts";

export interface AssembleWatch {
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number, chunks: number) => void;
}

/** Builds the image of a session. With a read key that was revealed for it, spbk-assemble does it in a process of its own:
 *  no service has the code that could use a key. RefusalError. */
export async function assemble(
  destination: Destination,
  asked: Assemble,
  revealed: Uint8Array | undefined,
  watch: AssembleWatch,
): Promise<Assembled> {
  const { archive } = destination;
  const volume = archive?.volume(asked.volume);
  if (archive === undefined || volume === undefined)
    throw new RefusalError("missing", "there is no such volume");
  const container = containerOfUid(archive.containers(volume), asked.session);
  if (container === undefined) throw new RefusalError("missing", "the volume has no such session");
  const place = placeOf(destination, archive, asked, assembledFile(volume.directory, container.name));
  using directory = place.directory;
  try {
    if (statOf(directory, place.name) !== undefined) throw taken();
    const common = { volumeDirectory: volume.directory, session: asked.session, signal: watch.signal };
    if (revealed !== undefined) {
      const to = { directory, name: place.name };
      return await assembleWithKey(archive.root, { ...common, to, key: revealed, ...watch });
    }
    const { imageDigest, size } = await assembleVolume({
      ...common,
      archivePath: `/proc/self/fd/${archive.root.fd}`,
      output: { kind: "file", path: directory.at(place.name), replace: false },
      onProgress: ({ bytes, chunks }) => watch.onProgress(bytes, chunks),
    });
    return { imageDigest, size };
  } catch (error) {
    throw refusalFrom(error);
  }
}

function placeOf(
  { mountpoint }: Destination,
  archive: Archive,
  { saveTo }: Assemble,
  usual: string,
): { readonly directory: Directory; readonly name: string } {
  if (saveTo === "") return { directory: ensureDirectory(archive.root, fileNames.assembled), name: usual };
  const parts = saveTo.split("/");
  // A guest chooses what its image holds, and where the drive is somebody's home too, `.ssh/authorized_keys2` is read.
  if (parts.some((each) => each.startsWith(".")))
    throw new RefusalError(
      "not-allowed",
      "an image can't be hidden: name a place without a dot at the beginning",
    );
  const name = parts.pop() ?? "";
  const root = fstatSync(archive.root.fd);
  const outside = (directory: Directory): void => {
    const { dev, ino } = fstatSync(directory.fd);
    const isOwn = dev === root.dev && ino === root.ino;
    const isAnother = [...namesIn(directory)].some(
      (each) => each === fileNames.heads || parseArchiveFile(each) !== undefined,
    );
    if (!isOwn && !isAnother) return;
    throw new RefusalError(
      "not-allowed",
      "an image can't be put among the files of an archive: name no place, or another",
    );
  };
  const directory = openBelow(mountpoint.directory, parts.join("/"), true, outside);
  if (directory === undefined) throw new RefusalError("missing", "the directory for the image is not there");
  return { directory, name };
}

const refusals: Partial<Record<AssembleErrorCode, Refusal>> = {
  "no-archive": "missing",
  "no-volume": "missing",
  "no-such-session": "missing",
  sealed: "unsupported",
  "wrong-key": "not-allowed",
  "newer-format": "unsupported",
  exists: "exists",
  "bad-output": "not-allowed",
  "no-space": "no-space",
  "too-large": "unsupported",
  io: "io",
  stopped: "stopped",
  internal: "internal",
};

function refusalFrom(error: unknown): unknown {
  if (error instanceof FormatError) return new RefusalError("corrupt", error.message, { cause: error });
  // Every code that is not listed says that the archive is not what it was when it was written.
  if (error instanceof AssembleError) {
    if (error.code === "exists") return taken();
    const message = withoutDescriptors(error.message);
    return new RefusalError(refusals[error.code] ?? "corrupt", message, { cause: error });
  }
  return error;
}

function taken(): RefusalError {
  return new RefusalError("exists", "a file of that name is there already");
}
