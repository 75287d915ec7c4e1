// An image of a sealed archive is built in the backup VM with a key that was revealed for it, and with no other; the
// key is nowhere to be found afterwards (docs/protocol.md, "Building an image").

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeImage } from "../../bench/image.ts";
import { decodeHead } from "../../protocol/archive/head.ts";
import { decodeIndexContainers } from "../../protocol/archive/index-file.ts";
import { toHex } from "../../protocol/bytes.ts";
import { startReceiver } from "../support/agent-client.ts";
import { makeSite, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;

test("with the key that is revealed, and no other", { timeout: 120_000 }, async () => {
  const volume = "secret.img";
  await using site = await makeSite({
    volumes: [volume],
    driveBytes: 96 * mib,
    sealed: true,
    settings: ["chunk-size = 64K"],
  });
  makeImage(site.image(volume), { size: 5 * mib + 999, dataBytes: 3 * mib, seed: 5 });
  const sent = await site.sparsebak(["-u", "send"]);
  expect(sent, sent.stderr).toMatchObject({ code: 0 });
  const exported = await site.sparsebak(["key", "--export", volume]);
  const key = new TextEncoder().encode(exported.stdout);

  await using client = startReceiver("sparsebak.Assemble", { entry: "dist/lib/receiver.mjs" });
  const relative = site.archive.slice(site.drive.length + 1);
  const { generation } = await client.hello(site.drive, relative);
  const head = decodeHead(new Uint8Array(readFileSync(join(site.archive, "heads", String(generation)))));
  const [of] = head.volumes;
  const index = join(site.archive, of!.directory, `index.${of!.indexGeneration}`);
  const [container] = decodeIndexContainers(new Uint8Array(readFileSync(index))).containers;
  const asked = { volume: of!.volume, session: container!.uid, saveTo: "" };

  // Without a key, and with one that is none.
  expect(await client.ask("assemble", asked, "refused")).toMatchObject({ body: { code: "unsupported" } });
  await client.ask("reveal", { key: key.slice(0, 60) }, "done");
  expect(await client.ask("assemble", asked, "refused")).toMatchObject({ type: "refused" });
  expect(existsSync(join(site.archive, "assembled"))).toBe(true);

  await client.ask("reveal", { key }, "done");
  const answer = await client.ask("assemble", asked, "assembled");
  if (answer.type !== "assembled") throw new Error(answer.type);
  expect(toHex(answer.body.imageDigest)).toBe(sha256Of(site.image(volume)));
  const image = join(site.archive, "assembled", `${of!.directory}.${container!.name}.img`);
  expect(sha256Of(image)).toBe(sha256Of(site.image(volume)));
  // It was for that one image.
  const elsewhere = { ...asked, saveTo: "again.img" };
  expect(await client.ask("assemble", elsewhere, "refused")).toMatchObject({ body: { code: "unsupported" } });
  expect((await client.goodbye()).exitCode).toBe(0);
  const line = exported.stdout
    .split("\n")
    .toSorted((a, b) => b.length - a.length)[0]!
    .trim();
  expect(line.length).toBeGreaterThan(30);
  expect(spawnSync("grep", ["-rlaF", line, site.drive], { encoding: "utf8" }).stdout).toBe("");
});
