// What the tests of senders begin with: an archive with one committed state, and the next one, which is there to be sent.

import { existsSync } from "node:fs";
import { expect } from "vitest";
import type { Refusal } from "../../protocol/wire/messages.ts";
import type { AgentClient } from "../support/agent-client.ts";
import { contentsOf } from "../support/contents.ts";
import { sendState, type SourceSession, type SourceState, sourceState } from "./replay.ts";
import { greeted, randomImage, receiverSite, type ReceiverSite, sourceArchive } from "./site.ts";

export interface CommittedSite extends ReceiverSite {
  /** The archive that has both states. */
  readonly source: string;
  readonly second: SourceState;
  /** The one of the second state. */
  readonly session: SourceSession;
  /** The files of the committed state, with their digests. */
  readonly committed: Readonly<Record<string, string>>;
}

export async function committedSite(form: "dir" | "tar" = "dir"): Promise<CommittedSite> {
  const site = receiverSite();
  const image = randomImage(12);
  const next = image.slice();
  next.fill(3, 0, 300_000);
  const source = sourceArchive(site, [image, next], form);
  await using client = await greeted(site);
  await sendState(client, source.path, 1);
  await client.goodbye();
  const second = sourceState(source.path, 2);
  const session = second.sessions[0]!;
  return { ...site, source: source.path, second, session, committed: contentsOf(site.archive) };
}

/** The call ends with `code`, and what was committed before it, if anything was, is as it was. */
export async function expectAborted(
  client: AgentClient,
  code: Refusal,
  { archive, committed = {} }: Pick<ReceiverSite, "archive"> & Partial<Pick<CommittedSite, "committed">>,
): Promise<void> {
  for (;;) {
    const frame = await client.next();
    if (frame.type !== "aborted") continue;
    expect(frame.body.code).toBe(code);
    break;
  }
  const end = await client.ended;
  expect(end.exitCode).toBe(1);
  expect(end.stderr).toBe(`sparsebak.Send: aborted: ${code}\n`);
  expect(existsSync(archive) ? contentsOf(archive) : {}).toMatchObject(committed);
}
