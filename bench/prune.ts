// node bench/prune.ts: what a prune costs in an archive of a thousand sessions and a million chunks: one session, then
// retention that leaves thirty. Time, and the largest memory of the agent and of the receiver, which is its child.
// With --sessions and --chunks other sizes, to see what grows with what; with --no-files the archive has all but its
// chunk files, so that what is measured is the prune and not the file system. Wants ./run build before.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeLongArchive } from "./long-archive.ts";
import { measureBoth, mebibytes, type Sides } from "./measure.ts";
import { makeSite, table } from "./programs.ts";

const { values: options } = parseArgs({
  allowNegative: true,
  options: {
    sessions: { type: "string", default: "1000" },
    chunks: { type: "string", default: "1000000" },
    files: { type: "boolean", default: true },
    directory: { type: "string", default: tmpdir() },
  },
});
const volume = "vm-bench-private.img";
const directory = mkdtempSync(join(options.directory, "sparsebak-bench-prune-"));

function row(what: string, { seconds, cpuSeconds, agentBytes, receiverBytes, stdout }: Sides): string[] {
  process.stdout.write(stdout);
  return [what, seconds.toFixed(1), cpuSeconds.toFixed(1), mebibytes(agentBytes), mebibytes(receiverBytes)];
}

const site = makeSite(directory, [volume]);
try {
  const of = { sessions: Number(options.sessions), chunks: Number(options.chunks), files: options.files };
  const files = await makeLongArchive(join(site.destination, "backups"), directory, volume, of);
  console.log(`${of.sessions} sessions, ${files} chunks`);
  const rows = [
    row("dry run", await measureBoth(site, ["-q", "prune", "--keep-last", "30", "--dry-run"])),
    row("one session", await measureBoth(site, ["prune", "--session", "S_20260102-000000"])),
    row("all but 30", await measureBoth(site, ["prune", "--keep-last", "30"])),
  ];
  console.log(table([["prune", "seconds", "CPU", "agent", "receiver"], ...rows]));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
