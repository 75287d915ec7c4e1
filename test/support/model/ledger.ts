// What an archive has to hold, as the model knows it: every session with the SHA-256 of the image at its time. A step says
// what it may have changed; what the archive lists afterwards must be explained by that and by nothing else.

import { expect } from "vitest";

export interface ModelSession {
  readonly uid: string;
  readonly volume: string;
  readonly sequence: number;
  readonly digest: string;
  readonly tags: readonly string[];
  readonly protected: boolean;
}

export interface ModelVolume {
  readonly uid: string;
  readonly name: string;
  readonly directory: string;
}

/** By uids, which no rename changes. */
export interface Ledger {
  volumes: ReadonlyMap<string, ModelVolume>;
  sessions: ReadonlyMap<string, ModelSession>;
  /** The archive's files, with digests, when all of this was last compared. */
  files?: ReadonlyMap<string, string>;
}

/** What an archive lists: the same, but for what the images were. */
export interface Listing {
  readonly volumes: readonly ModelVolume[];
  readonly sessions: readonly Omit<ModelSession, "digest">[];
}

/** What a step changes in an archive. */
export interface Outcome {
  /** All of it has happened; otherwise any part of it may have: something was killed. */
  readonly certain: boolean;
  /** By volume name: what a new session of it holds. */
  readonly appears?: ReadonlyMap<string, { readonly digest: string; readonly tags: readonly string[] }>;
  readonly goes?: ReadonlySet<string>;
  readonly marks?: ReadonlyMap<string, Pick<ModelSession, "tags" | "protected">>;
  readonly renames?: { readonly from: string; readonly to: string };
}

/** The sessions of a volume, oldest first. */
export function sessionsOf(ledger: Ledger, volume: string): readonly ModelSession[] {
  return [...ledger.sessions.values()]
    .filter((each) => each.volume === volume)
    .sort((a, b) => a.sequence - b.sequence);
}

/** The newest session of each volume. */
export function newestOf(ledger: Ledger): readonly ModelSession[] {
  return [...ledger.volumes.keys()].flatMap((uid) => sessionsOf(ledger, uid).slice(-1));
}

/** The sessions of a volume that a prune takes when it is told to, oldest first. */
export function freeSessionsOf(ledger: Ledger, volume: string): readonly ModelSession[] {
  return sessionsOf(ledger, volume)
    .slice(0, -1)
    .filter((each) => !each.protected);
}

/** Fails the test where the listing is not what the ledger and the outcome allow; else the ledger is what is listed. */
export function reconcile(ledger: Ledger, listing: Listing, outcome: Outcome, at: string): void {
  const { certain, goes, marks, appears, renames } = outcome;
  const volumes = new Map(listing.volumes.map((each) => [each.uid, each]));
  const sessions = new Map<string, ModelSession>();
  const grown = new Set<string>();
  for (const each of listing.sessions) {
    const about = `${at}: ${volumes.get(each.volume)?.name} ${each.uid}`;
    const known = ledger.sessions.get(each.uid);
    if (known === undefined) {
      const name = volumes.get(each.volume)?.name ?? "";
      const wanted = appears?.get(name);
      expect(wanted, `${about}: a session that nobody has sent`).toBeDefined();
      expect(grown.has(name), `${about}: two sessions of one send`).toBe(false);
      grown.add(name);
      expect(each, about).toMatchObject({ tags: wanted?.tags, protected: false });
      sessions.set(each.uid, { ...each, digest: wanted?.digest ?? "" });
      continue;
    }
    expect(certain && goes?.has(each.uid), `${about}: is still there`).not.toBe(true);
    const { uid, volume, sequence, tags } = known;
    const before = { uid, volume, sequence, tags, protected: known.protected };
    const after = { ...before, ...marks?.get(uid) };
    expect(certain ? [after] : [before, after], about).toContainEqual(each);
    sessions.set(uid, { ...each, digest: known.digest });
  }
  for (const { uid } of ledger.sessions.values())
    expect(sessions.has(uid) || goes?.has(uid), `${at}: ${uid} is not there any more`).toBe(true);
  for (const { uid, name } of ledger.volumes.values()) {
    const now = volumes.get(uid);
    if (now === undefined) continue;
    const wanted = name === renames?.from ? (certain ? [renames.to] : [name, renames.to]) : [name];
    expect(wanted, `${at}: the name of ${uid}`).toContain(now.name);
  }
  ledger.volumes = volumes;
  ledger.sessions = sessions;
  if (!certain) return;
  for (const [name, { digest }] of appears ?? []) {
    const volume = listing.volumes.find((each) => each.name === name);
    expect(sessionsOf(ledger, volume?.uid ?? "").at(-1)?.digest, `${at}: newest of ${name}`).toBe(digest);
  }
}
