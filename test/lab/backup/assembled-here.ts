// Sessions of an archive that a guest has copied out, assembled on this side at the machine's own speed.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect } from "vitest";
import { projectRoot } from "../lab.ts";

const assembler = join(projectRoot, "dist/lib/spbk-assemble.mjs");

/** Unpacks what a guest has put together with tar, beside it. */
export function unpack(directory: string, name: string): void {
  const done = spawnSync("tar", ["-C", directory, "-xf", join(directory, name)], { encoding: "utf8" });
  expect(done.status, done.stderr).toBe(0);
}

/** The sessions of a volume, each with the SHA-256 of the image that it assembles to. */
export function sessionsOf(volume: string): readonly (readonly [session: string, digest: string])[] {
  const assemble = (...args: string[]): readonly Record<string, string>[] => {
    const done = spawnSync(process.execPath, [assembler, volume, "--json", ...args], { encoding: "utf8" });
    expect(done.status, done.stderr).toBe(0);
    const lines = done.stdout.split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line) as Record<string, string>);
  };
  return assemble("--list")
    .filter((each) => each["type"] === "session")
    .map(({ session = "" }) => [session, assemble("--session", session, "--verify")[0]?.["sha256"] ?? ""]);
}
