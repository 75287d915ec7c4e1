// Everything that the command line prints: lines for people, or with --json one object a line; a progress bar with
// rate and time left on a terminal, nothing but lines elsewhere (design section 3).

import { reasonOf } from "../reason.ts";
import type { Reporter, VolumeReport } from "../context.ts";
import { printable } from "../transport/printable.ts";
import { bytesText, durationText } from "../units.ts";

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly progress: boolean;
}

export interface Output extends Reporter {
  /** A result for people, and its fields for --json. */
  line(text: string, fields: Readonly<Record<string, unknown>>): void;
  /** What --verbose shows. */
  trace(text: string): void;
  /** Removes the progress bar. */
  readonly clear: () => void;
}

const barMilliseconds = 200;

/** Output to stdout and stderr. */
export function createOutput(options: OutputOptions): Output {
  const bar = progressBar(options.progress && !options.quiet && process.stderr.isTTY);
  const json = (fields: Readonly<Record<string, unknown>>): void => {
    process.stdout.write(`${JSON.stringify(fields)}\n`);
  };
  const toStderr = (text: string): void => {
    bar.clear();
    process.stderr.write(`${text}\n`);
  };
  const output: Output = {
    line: (text, fields) => {
      bar.clear();
      if (options.json) json(fields);
      else if (!options.quiet) process.stdout.write(`${text}\n`);
    },
    trace: (text) => toStderr(`sparsebak: runs ${printable(Buffer.from(text.slice(0, 500)))}`),
    notice: (message, fields = {}) => {
      if (options.json) json({ type: "notice", message, ...fields });
      else if (!options.quiet) toStderr(`sparsebak: ${message}`);
    },
    warn: (message, fields = {}) => {
      if (options.json) json({ type: "warning", message, ...fields });
      else toStderr(`sparsebak: warning: ${message}`);
    },
    volume: (result) => {
      bar.clear();
      if (options.json) json({ type: "volume", ...result, ...result.fields, fields: undefined });
      else if (!result.ok) {
        toStderr(`sparsebak: error: ${result.message}`);
        if (result.hint !== undefined) toStderr(`sparsebak: hint: ${result.hint}`);
      } else if (!options.quiet) process.stdout.write(`${volumeLine(result)}\n`);
    },
    progress: bar.show,
    error: (error, fields = {}) => {
      const message = error instanceof Error ? error.message : String(error);
      const hint = (error as { readonly hint?: string }).hint;
      if (options.json) json({ type: "error", message, hint, reason: reasonOf(error), ...fields });
      toStderr(`sparsebak: error: ${message}`);
      if (hint !== undefined) toStderr(`sparsebak: hint: ${hint}`);
    },
    clear: bar.clear,
  };
  return output;
}

/**
 * A reader that has gone away (`| head`) doesn't stop a backup, and isn't told of; any other failure to print is told
 * once, on stderr, and handed to `onFailure`.
 */
export function guardStreams(onFailure: () => void): void {
  let told = false;
  const guard = (stream: NodeJS.WriteStream, name: string): void => {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (told || error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED") return;
      told = true;
      onFailure();
      if (stream !== process.stderr)
        process.stderr.write(`sparsebak: error: print to ${name}: ${error.message}\n`);
    });
  };
  guard(process.stdout, "standard output");
  guard(process.stderr, "standard error");
}

function volumeLine(result: VolumeReport): string {
  const stored = result.fields?.["storedBytes"];
  const read = result.fields?.["readBytes"];
  const figures =
    typeof stored === "number" && typeof read === "number"
      ? ` (read ${bytesText(read)}, stored ${bytesText(stored)})`
      : "";
  return `${result.volume}: ${result.message}${figures}`;
}

function progressBar(enabled: boolean): { show: Reporter["progress"]; clear: () => void } {
  let shownAt = 0;
  let shown = false;
  let current = "";
  let startedAt = 0;
  const clear = (): void => {
    if (shown) process.stderr.write("\r\u001b[K");
    shown = false;
  };
  return {
    show: (volume, done, total) => {
      const now = performance.now();
      if (volume !== current || done === 0) {
        current = volume;
        startedAt = now;
      }
      if (!enabled || now - shownAt < barMilliseconds) return;
      shownAt = now;
      shown = true;
      const share = total === 0 ? 1 : Math.min(1, done / total);
      const seconds = (now - startedAt) / 1000;
      const rate = seconds > 0 ? done / seconds : 0;
      const left = rate > 0 ? ` ${durationText(Math.max(0, total - done) / rate)} left` : "";
      const width = 24;
      const filled = Math.round(share * width);
      const gauge = `${"█".repeat(filled)}${"░".repeat(width - filled)}`;
      const text = `${volume} ${gauge} ${Math.floor(share * 100)} % ${bytesText(rate)}/s${left}`;
      process.stderr.write(`\r\u001b[K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
    },
    clear,
  };
}
