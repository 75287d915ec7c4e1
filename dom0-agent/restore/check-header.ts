// A session's header, held against the index that names it.

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import { decodeSessionHeader, maxSessionHeaderBytes } from "../../protocol/archive/session-header.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { metaOf, type OpenArchive, verified } from "../archive/archive.ts";
import { AgentError } from "../errors.ts";
import type { FoundSession } from "./find-session.ts";

/** Throws AgentError `integrity` unless the session's header is the one that the index names, and says the same. */
export async function checkHeader(
  open: OpenArchive,
  index: VolumeIndex,
  { record, container }: FoundSession,
): Promise<void> {
  const what = `${index.name}: header of ${container.name}`;
  const raw = await open.client.readWhole(
    metaOf("header", 0, index.volume, record.uid),
    2 * maxSessionHeaderBytes,
  );
  if (raw === undefined) throw new AgentError("integrity", `${what}: the receiver does not have it`);
  if (!equalBytes(fileDigest(raw), container.headerDigest))
    throw new AgentError("integrity", `${what}: it is not the one that the index names`);
  const { archive, volume } = index;
  const header = verified(what, () => decodeSessionHeader(raw, { archive, volume }, open.seal.opener));
  if (!equalBytes(header.uid, record.uid) || !equalBytes(header.mapRoot, record.mapRoot))
    throw new AgentError("integrity", `${what}: it says something else than the index`);
}
