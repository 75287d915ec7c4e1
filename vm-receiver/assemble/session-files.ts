// Header and manifest of a session, from its directory or out of its tar.

import { closeSync } from "node:fs";
import { dirname, join } from "node:path";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { besideTar, fileNames, manifestFile } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { BodyOpener } from "../../protocol/archive/sealed-body.ts";
import {
  decodeSessionHeader,
  maxSessionHeaderBytes,
  type SessionHeader,
} from "../../protocol/archive/session-header.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import type { ArchiveState } from "./archive-state.ts";
import { type AssembleErrorCode, reading } from "./errors.ts";
import { openRegular, readFully } from "./files.ts";
import type { FileRange } from "./manifest-source.ts";
import type { Place } from "./places.ts";
import { printable } from "./printable.ts";
import type { FoundSession } from "./sessions.ts";
import { openTar } from "./tar-file.ts";

/** `manifest.N` of a session; whoever asks closes the descriptor. Throws AssembleError. */
export function openManifestRange(place: Place, generation: Generation): FileRange {
  const name = manifestFile(generation);
  if (place.form === "dir") return wholeFile("manifest", "corrupt-manifest", join(place.path, name));
  const tar = openTar(place.path);
  const path = `${printable(place.path)}, member ${name}`;
  if (tar.footer.manifestGeneration !== generation) {
    tar.close();
    // What a prune wrote lies beside the tar.
    return wholeFile(
      "manifest",
      "corrupt-manifest",
      join(dirname(place.path), besideTar(place.session, name)),
    );
  }
  return { fd: tar.fd, ...tar.footer.manifest, path };
}

function openHeaderRange(place: Place): FileRange {
  if (place.form === "dir") {
    return wholeFile("session header", "corrupt-header", join(place.path, fileNames.header));
  }
  const tar = openTar(place.path);
  return { fd: tar.fd, ...tar.footer.header, path: `${printable(place.path)}, member ${fileNames.header}` };
}

function wholeFile(what: string, corrupt: AssembleErrorCode, path: string): FileRange {
  const shown = printable(path);
  const { fd, size } = reading(what, shown, { corrupt }, () => openRegular(path));
  return { fd, offset: 0, length: size, path: shown };
}

/**
 * The header of a session, checked against what the index says of it. Throws AssembleError: `missing-file`,
 * `corrupt-header`, `newer-format`, `io`.
 */
export function readSessionHeader(
  state: ArchiveState,
  place: Place,
  session: FoundSession,
  opener: BodyOpener | undefined,
): SessionHeader {
  const range = openHeaderRange(place);
  try {
    return reading("session header", range.path, { corrupt: "corrupt-header" }, () => {
      if (range.length > maxSessionHeaderBytes) {
        throw new FormatError("too-long", `${range.length} bytes, at most ${maxSessionHeaderBytes} allowed`);
      }
      const bytes = new Uint8Array(range.length);
      readFully(range.fd, bytes, range.offset);
      const { record, container } = session;
      if (!equalBytes(fileDigest(bytes), container.headerDigest)) {
        throw new FormatError("bad-digest", "its digest is not the one that the index names");
      }
      const header = decodeSessionHeader(bytes, { archive: state.header.uuid }, opener);
      const same =
        equalBytes(header.uid, record.uid) &&
        equalBytes(header.mapRoot, record.mapRoot) &&
        header.size === record.size &&
        header.sequence === record.sequence &&
        header.chunkSize === state.header.chunkSize;
      if (!same) throw new FormatError("bad-value", "it does not say of the session what the index says");
      return header;
    });
  } finally {
    closeSync(range.fd);
  }
}
