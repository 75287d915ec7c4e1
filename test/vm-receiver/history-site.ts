// What the tests of callers that try to rewrite history begin with: an archive with two committed states, and ways to
// ask for what may be refused.

import type { Digest } from "../../protocol/archive/types.ts";
import type { MetaName } from "../../protocol/wire/messages.ts";
import { type AgentClient, metaName } from "../support/agent-client.ts";
import { sendStates, type SourceSession, type SourceState, sourceState } from "./replay.ts";
import { randomImage, receiverSite, type ReceiverSite, sourceArchive } from "./site.ts";

export interface HistorySite extends ReceiverSite {
  readonly first: SourceState;
  readonly second: SourceState;
}

/** Two states, committed. */
export async function historySite(form: "dir" | "tar" = "dir"): Promise<HistorySite> {
  const site = receiverSite();
  const image = randomImage(8);
  const next = image.slice();
  next.fill(3, 0, 200_000);
  const source = sourceArchive(site, [image, next], form);
  await sendStates(site, source.path, [1, 2]);
  return { ...site, first: sourceState(source.path, 1), second: sourceState(source.path, 2) };
}

/** The session of the first state. */
export function sessionOf(site: HistorySite): SourceSession {
  const session = site.first.sessions[0];
  if (session === undefined) throw new Error("no session");
  return session;
}

/** Announces a file and says all of it; gives the answer. */
export async function putting(
  client: AgentClient,
  name: Partial<MetaName>,
  bytes: Uint8Array,
): Promise<string> {
  const digest = bytes.slice(-32) as Digest;
  await client.send("put", { name: metaName(name as MetaName), length: bytes.length, digest });
  // It may have been refused before the bytes come: then the call is over.
  await client.send("part", { bytes });
  return answerOf(client);
}

/** `refused` or `aborted` with its code, or what else was answered. */
export async function answerOf(client: AgentClient): Promise<string> {
  const { type, body } = await client.next();
  return type === "refused" || type === "aborted" ? body.code : type;
}
