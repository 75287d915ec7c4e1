// ./run demo: a backup and back again on this machine, as an ordinary user, through the agent, wire and receiver as they
// are installed, with stand-ins for qrexec between them: a sealed archive, a first session, an increment, a session as a
// tar file, and the image put together again each time with an exported key, byte for byte.

import { createHash } from "node:crypto";
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { qrexecLab } from "../test/support/qrexec/lab.ts";
import { lvmDemo } from "./demo-lvm.ts";
import { backupVm, makeDemoSite } from "./demo-site.ts";
import { changeImage, makeImage } from "./image.ts";
import { type ReportLine, table } from "./programs.ts";

const { values: options } = parseArgs({
  options: {
    lvm: { type: "boolean", default: false },
    /** Divides all sizes. */
    scale: { type: "string", default: "1" },
  },
});
const mib = 1024 * 1024;
const scaled = (mebibytes: number): number => Math.ceil((mebibytes * mib) / Number(options.scale));
const size = scaled(1024);
const volume = "vm-demo-private.img";

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of createReadStream(path, { highWaterMark: 4 * mib })) hash.update(part as Buffer);
  return hash.digest("hex");
}

function megabytes(value: unknown): string {
  return `${(Number(value) / mib).toFixed(1)} MiB`;
}

function row(what: string, seconds: number, line: ReportLine | undefined, looked: number): string[] {
  const rate = `${(looked / mib / seconds).toFixed(0)} MiB/s`;
  return [
    what,
    megabytes(line?.["readBytes"]),
    megabytes(line?.["sentBytes"]),
    megabytes(line?.["storedBytes"]),
    `${seconds.toFixed(1)} s`,
    rate,
  ];
}

function say(text: string): void {
  process.stdout.write(`\n== ${text}\n`);
}

if (options.lvm) {
  await lvmDemo();
  process.exit(0);
}
const directory = mkdtempSync(join(tmpdir(), "sparsebak-demo-"));
try {
  await using lab = qrexecLab({ vms: { [backupVm]: "running" } });
  const site = await makeDemoSite(lab, directory, volume);
  const key = join(directory, "demo.key");
  const image = join(site.images, volume);
  const rows = [["", "read", "sent", "stored", "time", "rate"]];
  const send = async (what: string, ...args: string[]): Promise<void> => {
    const { seconds, lines } = await site.sparsebak("-u", "--json", "send", ...args);
    const line = lines.find((each) => each["type"] === "volume");
    rows.push(row(what, seconds, line, Number(line?.["readBytes"])));
    process.stdout.write(`   ${String(line?.["volume"])}: ${String(line?.["message"])}\n`);
  };
  const assembleAndCompare = async (): Promise<void> => {
    const output = join(directory, "assembled.img");
    const args = [site.archive, "--key", key, "-o", output, "--force", "-q"];
    const { seconds } = await site.spbkAssemble(...args);
    const [found, wanted] = [await sha256(output), await sha256(image)];
    if (found !== wanted)
      throw new Error(`the assembled image is not the original: SHA-256 ${found}, wanted ${wanted}`);
    rows.push([
      "assemble",
      "",
      "",
      "",
      `${seconds.toFixed(1)} s`,
      `${(size / mib / seconds).toFixed(0)} MiB/s`,
    ]);
    process.stdout.write(`   SHA-256 ${found}: the same as the volume's\n`);
  };

  const [dataBytes, firstChange, secondChange] = [scaled(256), scaled(24), scaled(8)];
  say(`an image of ${megabytes(size)} with ${megabytes(dataBytes)} of data`);
  makeImage(image, { size, dataBytes, seed: 1 });
  say("sparsebak init --no-passphrase: a sealed archive; the key stays with this machine");
  await site.sparsebak("-u", "-q", "init", "--no-passphrase");
  say("sparsebak send: the first time, everything");
  await send("first send");
  say("sparsebak key --export: what spbk-assemble may read this one volume with");
  const exported = await site.sparsebak("-q", "key", "--export", volume);
  writeFileSync(key, exported.stdout, { mode: 0o600 });
  await assembleAndCompare();
  say(`${megabytes(firstChange)} change; sparsebak monitor, sparsebak send: what differs`);
  changeImage(image, firstChange, 2, size);
  process.stdout.write(`   ${(await site.sparsebak("monitor")).stdout}`);
  await send("second send");
  await assembleAndCompare();
  say(`${megabytes(secondChange)} change; sparsebak send --tarfile: the same, in one tar file`);
  changeImage(image, secondChange, 3, size);
  await send("send --tarfile", "--tarfile");
  await assembleAndCompare();
  say("sparsebak list");
  process.stdout.write((await site.sparsebak("list", volume)).stdout);
  process.stdout.write(`\n${table(rows)}\n`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
