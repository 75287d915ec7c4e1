import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { AgentError } from "../../../dom0-agent/errors.ts";
import { takeLock } from "../../../dom0-agent/state/lock.ts";
import { tempDir } from "../../support/temp-dir.ts";

describe("lock", () => {
  test("keeps another process out until it is let go", async () => {
    using directory = tempDir();
    const path = join(directory.path, "lock");
    const other = (): number | null => spawnSync("flock", ["--nonblock", path, "true"]).status;
    {
      using _lock = await takeLock(path, "test", 0);
      expect(other()).toBe(1);
      await expect(takeLock(path, "second run", 0)).rejects.toThrow(AgentError);
      await expect(takeLock(path, "second run", 0)).rejects.toMatchObject({ reason: "locked" });
    }
    expect(other()).toBe(0);
  });
});
