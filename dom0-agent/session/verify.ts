// verify: reads all that a session needs and checks every byte of it, as a restore would, and writes nothing.

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import { checkHeader } from "../restore/check-header.ts";
import { allSessions, findSession, type FoundSession } from "../restore/find-session.ts";
import { crewFor } from "../restore/restore-into.ts";
import { sessionMap } from "../restore/session-map.ts";
import { checkChunks } from "../restore/check-chunks.ts";
import { verifyAllSessions } from "../restore/verify-all.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { Context } from "../context.ts";
import { type Damage, damageOf, damageOutcome, isDamaged, wholeDamage } from "../restore/damage-report.ts";
import { eachVolume, type VolumeOutcome } from "../restore/each-volume.ts";
import { changedMeanwhile, hasLostSince } from "../archive/moved-on.ts";

export interface VerifyOptions {
  readonly session: string | undefined;
  readonly allSessions: boolean;
}

/** Verifies volumes one after another. */
export async function verify(
  context: Context,
  settings: ArchiveSettings,
  volumes: readonly string[] | "all",
  options: VerifyOptions,
): Promise<ExitReason> {
  return eachVolume(context, settings, "verify", volumes, async (open, index) =>
    options.allSessions
      ? verifyAll(context, open, index)
      : verifyOne(context, open, index, findSession(index, options.session)),
  );
}

async function verifyOne(
  context: Context,
  open: OpenArchive,
  index: VolumeIndex,
  session: FoundSession,
): Promise<VolumeOutcome> {
  await checkHeader(open, index, session);
  using map = await sessionMap(open, index, session);
  await using crew = crewFor(open, index, map, `verify ${index.name}`, context.signal);
  const { damaged, reasons, readBytes } = await checkChunks({
    client: open.client,
    crew,
    containers: map.containers,
    steps: map.steps(),
    size: map.size,
    chunkSize: map.chunkSize,
    onProgress: (done) => context.report.progress(index.name, done, map.dataBytes),
    signal: context.signal,
  });
  const damage = damageOf(session.container.name, damaged, map.size, map.chunkSize, reasons);
  return outcomeOf(context, open, index, [damage], readBytes);
}

async function verifyAll(context: Context, open: OpenArchive, index: VolumeIndex): Promise<VolumeOutcome> {
  const headers = await damagedHeaders(open, index);
  const { found, readBytes } = await verifyAllSessions(open, index, {
    onProgress: (done, total) => context.report.progress(index.name, done, total),
    signal: context.signal,
  });
  const all = found.map((each) => withHeader(each, headers.get(each.session)));
  return outcomeOf(context, open, index, all, readBytes);
}

/** Why a session's header is not right, by the session's name. */
async function damagedHeaders(open: OpenArchive, index: VolumeIndex): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const session of allSessions(index)) {
    try {
      await checkHeader(open, index, session);
    } catch (error) {
      if (!(error instanceof AgentError) || error.reason !== "integrity") throw error;
      found.set(session.container.name, error.message);
    }
  }
  return found;
}

/** A damaged header is damage of its session, beside what else is. */
function withHeader(damage: Damage, header: string | undefined): Damage {
  if (header === undefined) return damage;
  if (isDamaged(damage)) return { ...damage, reasons: [header, ...damage.reasons] };
  return wholeDamage(damage.session, header);
}

/** Throws where what seems damaged may have been removed meanwhile. */
async function outcomeOf(
  context: Context,
  open: OpenArchive,
  index: VolumeIndex,
  found: readonly Damage[],
  readBytes: number,
): Promise<VolumeOutcome> {
  if (found.some(isDamaged) && (await hasLostSince(context, open))) throw changedMeanwhile("verify");
  return damageOutcome(context, index.name, found, readBytes);
}
