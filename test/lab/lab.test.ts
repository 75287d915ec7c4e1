// The lab itself: what goes into a guest, what comes back, and that nothing else does.

import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { tempDir } from "../support/temp-dir.ts";
import { projectRoot, runInGuest, tellOf } from "./lab.ts";

test("environment, stdin, shares and disks go in; output, exit status and what was written to a share come back", async () => {
  using share = tempDir();
  const leak = join(projectRoot, "test/.cache/written-in-a-guest");
  const result = await runInGuest({
    script: `[ "$VM_RUN" = 1 ] || exit 1
      cat; echo "$GREETING, in /tmp: $(ls /tmp)"; echo to stderr >&2
      blockdev --getsize64 "$VM_DISK" /dev/vdb; pwd
      echo kept >${share.path}/note; echo lost >${leak}
      dmsetup targets | grep -c thin-pool; exit 3`,
    env: { GREETING: "a 'quoted' $value" },
    shares: [share.path],
    disks: ["1G", "64M"],
    stdin: "two\nlines\n",
  });
  expect(result.exitCode, tellOf(result)).toBe(3);
  expect(result.stdout.split("\n")).toEqual([
    "two",
    "lines",
    `a 'quoted' $value, in /tmp: ${basename(share.path)}`,
    String(1 << 30),
    String(64 << 20),
    projectRoot,
    "1",
    "",
  ]);
  expect(result.stderr).toContain("to stderr\n");
  expect(readFileSync(join(share.path, "note"), "utf8")).toBe("kept\n");
  expect(existsSync(leak)).toBe(false);
});

test("a guest that does not end is killed, and says so", async () => {
  const result = await runInGuest({ script: "sleep 1000", disks: [], timeoutSeconds: 5 });
  expect(result.exitCode).toBe(124);
  expect(result.stderr).toContain("timed out after 5s");
});
