// Running the built programs, as a user would, with a settings file of their own; and what they report.

import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** One JSON object that sparsebak printed. */
export type ReportLine = Readonly<Record<string, unknown>>;

export interface RunResult {
  readonly seconds: number;
  readonly lines: readonly ReportLine[];
  readonly stdout: string;
}

/** Runs a program; its stderr, and with it the progress bar, is ours. Throws when it fails. */
export async function run(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<RunResult> {
  const start = performance.now();
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"], env });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject).on("close", resolve);
  });
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: exit status ${code}\n${stdout}`);
  const lines = stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as ReportLine);
  return { seconds: (performance.now() - start) / 1000, lines, stdout };
}

export interface Site {
  readonly ini: string;
  readonly images: string;
  readonly destination: string;
}

export interface SiteOptions {
  /** Where the image files are, in place of a directory of the site's own. */
  readonly images?: string;
  /** Whether the archive will be sealed, which `init` makes it then; it isn't unless told so. */
  readonly sealed?: boolean;
}

/** A place with image files, a destination and the settings for both, all below `directory`. */
export function makeSite(directory: string, volumes: readonly string[], options: SiteOptions = {}): Site {
  const site = {
    ini: join(directory, "sparsebak.ini"),
    images: options.images ?? join(directory, "images"),
    destination: join(directory, "drive"),
  };
  mkdirSync(site.images, { recursive: true });
  mkdirSync(site.destination, { recursive: true });
  const receiver = join(directory, "receiver.ini");
  // Nothing is mounted here: the receiver is told that this directory will do.
  writeFileSync(receiver, `[receiver]\nplain-directories = ${site.destination}\n`);
  writeFileSync(
    site.ini,
    [
      "[var]",
      `localpath = ${site.images}`,
      "destvm = none",
      `destmountpoint = ${site.destination}`,
      "destdir = backups",
      `encryption = ${options.sealed === true ? "on" : "off"}`,
      `receiver-settings = ${receiver}`,
      "",
      "[volumes]",
      ...volumes.map((volume) => `${volume} = enable`),
      "",
    ].join("\n"),
  );
  return site;
}

/** Columns of text, the first left, the others right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? "").length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join("  "),
    )
    .join("\n");
}
