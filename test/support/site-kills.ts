// SIGKILL for one side right before every so many-th thing that a command does to the outside, each time from the same
// beginning (kill-at.mjs).

import { cpSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Site } from "./site.ts";

/** Every `stride`-th step, from a random one on. */
export interface Steps {
  readonly stride: number;
  readonly from: number;
}

/** `usual` is the stride unless SPARSEBAK_KILL_STRIDE names another; 1 takes all steps, which is many minutes. */
export function killSteps(usual: number): Steps {
  const stride = Number(process.env["SPARSEBAK_KILL_STRIDE"] ?? usual);
  return { stride, from: 1 + Math.floor(Math.random() * stride) };
}

/** Puts a site's archive and state aside. What it gives puts them back. */
export function savedSite(site: Site): () => void {
  const saved = join(site.directory, "saved");
  const places = [
    [site.archive, join(saved, "archive")],
    [join(site.state, "archives"), join(saved, "archives")],
  ] as const;
  for (const [place, copy] of places) cpSync(place, copy, { recursive: true });
  return () => {
    for (const [place, copy] of places) {
      rmSync(place, { recursive: true, force: true });
      cpSync(copy, place, { recursive: true });
    }
  };
}

/** A site to begin from, and what puts it back to that. */
export interface Prepared {
  readonly site: Site;
  readonly reset: () => void;
}

export interface Kills<From extends Prepared> {
  readonly steps: Steps;
  /** `local` is for kills of the agent: then the receiver is its child, and else behind the qrexec stand-ins. */
  readonly prepare: (local: boolean) => Promise<From>;
  /** The command that is killed; whole, it has to succeed. */
  readonly command: readonly string[];
  /** What has to hold after each kill; `at` says which. */
  readonly afterKill: (prepared: From, at: string) => Promise<void>;
}

/** Two tests: kills of the agent, and kills of the receiver. */
export function killBothSides<From extends Prepared>(kills: Kills<From>): void {
  const { stride, from } = kills.steps;
  const options = { timeout: 900_000 };
  test(`the agent killed at every ${stride}th step from ${from} on`, options, async () => killAgent(kills));
  test(`the receiver killed at every ${stride}th step from ${from} on`, options, async () =>
    killReceiver(kills),
  );
}

export async function killAgent<From extends Prepared>(kills: Kills<From>): Promise<void> {
  const { command, afterKill } = kills;
  const prepared = await kills.prepare(true);
  await using site = prepared.site;
  const count = join(site.directory, "count");
  expect(await site.sparsebak(command, { countInto: count })).toMatchObject({ code: 0 });
  for (const { n, at } of stepsIn(count, kills.steps)) {
    prepared.reset();
    const killed = await site.sparsebak(command, { killAt: n });
    expect(killed.signal, `${at}: ${killed.stderr}`).toBe("SIGKILL");
    await afterKill(prepared, `agent killed at ${at}`);
  }
}

async function killReceiver<From extends Prepared>(kills: Kills<From>): Promise<void> {
  const { command, afterKill } = kills;
  const prepared = await kills.prepare(false);
  await using site = prepared.site;
  const count = join(site.directory, "count");
  site.killReceiverAt(undefined, count);
  expect(await site.sparsebak(command)).toMatchObject({ code: 0 });
  for (const { n, at } of stepsIn(count, kills.steps)) {
    prepared.reset();
    site.killReceiverAt(n);
    const ended = await site.sparsebak(command);
    expect([0, 4], `${at}: ${ended.stderr}`).toContain(ended.code);
    site.killReceiverAt(undefined);
    await afterKill(prepared, `receiver killed at ${at}`);
  }
}

/** The steps to kill at, of those that were counted. */
function* stepsIn(
  count: string,
  { stride, from }: Steps,
): Generator<{ readonly n: number; readonly at: string }, void, undefined> {
  const steps = Number(readFileSync(count, "utf8"));
  expect(steps).toBeGreaterThan(30);
  for (let n = from; n <= steps; n += stride) yield { n, at: `step ${n} of ${steps}` };
}

/** Nothing of dom0's state of the archive has such a name. */
export function expectNoState(site: Site, names: RegExp, at: string): void {
  const found = readdirSync(join(site.state, "archives", "default"), { recursive: true }).map(String);
  expect(
    found.filter((name) => names.test(name)),
    at,
  ).toEqual([]);
}
