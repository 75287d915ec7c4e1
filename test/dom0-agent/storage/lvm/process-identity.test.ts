// Which process wrote an intent, and whether it lives: a pid alone proves nothing.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { isAlive, ourIdentity } from "../../../../dom0-agent/storage/lvm/process-identity.ts";

test("this process lives", () => {
  expect(ourIdentity().pid).toBe(process.pid);
  expect(isAlive(ourIdentity())).toBe(true);
});

test("another process with the same pid, or one before the last start of the machine, is another", () => {
  expect(isAlive({ ...ourIdentity(), startedAt: "1" })).toBe(false);
  expect(isAlive({ ...ourIdentity(), bootId: "00000000-0000-0000-0000-000000000000" })).toBe(false);
});

test("a process that was killed is dead, also while nobody has buried it", async () => {
  // A shell that never asks what became of its child leaves it as a zombie.
  const shell = spawn("sh", ["-c", "sleep 1000 & echo $!; kill -9 $!; exec sleep 1000"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  try {
    const [line] = (await once(shell.stdout, "data")) as [Buffer];
    const pid = Number(line.toString());
    const state = (): string | undefined => {
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
      return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[0];
    };
    while (state() !== "Z") await new Promise((resolve) => setTimeout(resolve, 10));
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? [];
    expect(isAlive({ ...ourIdentity(), pid, startedAt: fields[19] ?? "" })).toBe(false);
  } finally {
    shell.kill("SIGKILL");
  }
});
