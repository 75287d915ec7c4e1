// A drive that is full keeps nobody from removing what fills it. What is mounted over a network may say only when a file is
// closed that it is full; there is none here, so closing is a mock that fails for the file that is tried with.

import { cpSync, mkdirSync, readdirSync } from "node:fs";
import { afterEach, expect, test, vi } from "vitest";
import type { Digest } from "../../../protocol/archive/types.ts";
import { capabilities } from "../../../protocol/wire/messages.ts";
import { defaultSettings } from "../../../vm-receiver/config/settings.ts";
import { openDestination } from "../../../vm-receiver/service/destination.ts";
import { noUuid } from "../../support/agent-client.ts";
import { randomImage, receiverSite, sourceArchive } from "../site.ts";

const disk = vi.hoisted(() => ({ code: undefined as string | undefined }));

vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  const failing: typeof fs.closeSync = (fd) => {
    const isProbe = fs.readlinkSync(`/proc/self/fd/${fd}`).endsWith("/.tmp-probe");
    fs.closeSync(fd);
    if (isProbe && disk.code !== undefined)
      throw Object.assign(new Error(`${disk.code}: close`), { code: disk.code });
  };
  return { ...fs, closeSync: failing };
});

afterEach(() => {
  disk.code = undefined;
});

test.each(["ENOSPC", "EDQUOT", "EPERM", "EIO"])(
  "%s when the file is closed: there are no holes",
  async (code) => {
    using site = receiverSite();
    const source = sourceArchive(site, [randomImage(4)]);
    mkdirSync(site.archive);
    cpSync(source.path, site.archive, { recursive: true });
    const service = "sparsebak.Prune" as const;
    const asked = { service, mountpoint: site.mountpoint, directory: "backups", archive: noUuid };
    const settings = { ...defaultSettings, plainDirectories: [site.mountpoint] };
    disk.code = code;
    using opened = await openDestination(asked, settings);
    expect(opened.hello).toMatchObject({ generation: 1 });
    expect(opened.hello.capabilities & capabilities.punchHoles).toBe(0);
    expect(opened.hello.headDigest).not.toEqual(new Uint8Array(32) as Digest);
    expect(readdirSync(site.archive).filter((name) => name.startsWith(".tmp-"))).toEqual([]);
  },
);
