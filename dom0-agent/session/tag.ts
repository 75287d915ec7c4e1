// tag: labels on sessions, and protection against prune.

import {
  containerOf,
  maxTags,
  type SessionRecord,
  type VolumeIndex,
} from "../../protocol/archive/index-file.ts";
import { checkTag } from "../config/check-tag.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { findSession } from "../restore/find-session.ts";
import { chooseInArchive, type Selection, type ViewedVolume } from "../archive/archive-view.ts";
import { changeIndexes } from "../archive/change-indexes.ts";
import type { Context } from "../context.ts";

export interface TagRequest {
  /** `S_…`; undefined: each volume's newest. */
  readonly session: string | undefined;
  readonly add: readonly string[];
  readonly remove: readonly string[];
  /** undefined: as it is. */
  readonly protect: boolean | undefined;
}

export interface TaggedSession {
  readonly volume: string;
  readonly session: string;
  readonly tags: readonly string[];
  readonly protected: boolean;
  readonly changed: boolean;
}

/** Changes the session of every volume of the selection that has it. Throws AgentError where none has. */
export async function tag(
  context: Context,
  settings: ArchiveSettings,
  selection: Selection,
  request: TagRequest,
): Promise<readonly TaggedSession[]> {
  return changeIndexes(context, settings, "tag", (view) => {
    const chosen = chooseInArchive(view, selection, "tag");
    const found = chosen.flatMap((volume) => {
      const session = sessionOf(volume, request.session, chosen.length > 1);
      return session === undefined ? [] : [{ volume, session, now: changed(volume.index, session, request) }];
    });
    if (found.length === 0)
      throw new AgentError(
        "failed",
        `tag: there is no session ${request.session ?? ""}`,
        "see sparsebak list VOLUME",
      );
    const changes = found
      .filter(({ session, now }) => session !== now)
      .map(({ volume, session, now }) => ({
        volume,
        change: { sessions: volume.index.sessions.map((each) => (each === session ? now : each)) },
      }));
    const result = found.map(({ volume: { index }, session, now }) => ({
      volume: index.name,
      session: containerOf(index, now.uid)?.name ?? "",
      tags: now.tags,
      protected: now.protected,
      changed: session !== now,
    }));
    return { changes, note: { what: "tag" }, result };
  });
}

/** Of several volumes those count that have the session. */
function sessionOf(
  { index }: ViewedVolume,
  wanted: string | undefined,
  mayLack: boolean,
): SessionRecord | undefined {
  try {
    return findSession(index, wanted).record;
  } catch (error) {
    if (mayLack && error instanceof AgentError) return undefined;
    throw error;
  }
}

/** The session as it is afterwards: the same object where nothing of it changes. */
function changed(index: VolumeIndex, session: SessionRecord, request: TagRequest): SessionRecord {
  const kept = session.tags.filter((each) => !request.remove.includes(each));
  const tags = [...kept, ...request.add.filter((each) => !kept.includes(each))];
  if (tags.length > maxTags)
    throw new AgentError("failed", `tag: ${index.name}: ${tags.length} tags, wanted at most ${maxTags}`);
  const isProtected = request.protect ?? session.protected;
  const same =
    isProtected === session.protected &&
    tags.length === session.tags.length &&
    tags.every((each, i) => each === session.tags[i]);
  return same ? session : { ...session, tags, protected: isProtected };
}

/** Throws AgentError `usage` for tags that no session can have; `what` is the command. */
export function checkTags(what: string, tags: readonly string[]): void {
  for (const each of tags) checkTag(each);
  if (tags.length > maxTags)
    throw new AgentError("usage", `${what}: found ${tags.length} tags, wanted at most ${maxTags}`);
}
