// SIGKILL for one side right before every so many-th thing that a command does to the outside, each time from the same
// beginning (kill-at.mjs).

import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
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

export interface Kills extends Steps {
  readonly site: Site;
  /** The command that is killed; whole, it has to succeed. */
  readonly command: readonly string[];
  readonly reset: () => void;
  /** What has to hold after each kill; `at` says which. */
  readonly afterKill: (at: string) => Promise<void>;
}

export async function killAgent({ site, command, stride, from, reset, afterKill }: Kills): Promise<void> {
  const count = join(site.directory, "count");
  expect(await site.sparsebak(command, { countInto: count })).toMatchObject({ code: 0 });
  const steps = stepsIn(count);
  for (let n = from; n <= steps; n += stride) {
    reset();
    const killed = await site.sparsebak(command, { killAt: n });
    expect(killed.signal, `step ${n}: ${killed.stderr}`).toBe("SIGKILL");
    await afterKill(`agent killed at step ${n} of ${steps}`);
  }
}

/** The receiver runs behind the qrexec stand-ins. */
export async function killReceiver({ site, command, stride, from, reset, afterKill }: Kills): Promise<void> {
  const count = join(site.directory, "count");
  site.killReceiverAt(undefined, count);
  expect(await site.sparsebak(command)).toMatchObject({ code: 0 });
  const steps = stepsIn(count);
  for (let n = from; n <= steps; n += stride) {
    reset();
    site.killReceiverAt(n);
    const ended = await site.sparsebak(command);
    expect([0, 4], `step ${n}: ${ended.stderr}`).toContain(ended.code);
    site.killReceiverAt(undefined);
    await afterKill(`receiver killed at step ${n} of ${steps}`);
  }
}

function stepsIn(count: string): number {
  const steps = Number(readFileSync(count, "utf8"));
  expect(steps).toBeGreaterThan(30);
  return steps;
}
