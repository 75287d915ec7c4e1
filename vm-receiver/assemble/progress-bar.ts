// One line on a terminal that says how far the image is, how fast, and how long it still takes.

import { formatBytes, formatDuration } from "./printable.ts";

export interface ProgressBar {
  update(progress: { readonly bytes: number; readonly total: number }): void;
  /** Wipes the line. */
  clear(): void;
}

const drawEvery = 200;

/** A bar on `terminal`, drawn at most five times a second. */
export function progressBar(
  terminal: { write(text: string): unknown; readonly columns?: number },
  label: string,
): ProgressBar {
  const started = performance.now();
  const width = terminal.columns === undefined || terminal.columns === 0 ? 80 : terminal.columns;
  let drawn = started;
  let shown = false;
  return {
    update: ({ bytes, total }) => {
      const now = performance.now();
      if (now - drawn < drawEvery) return;
      drawn = now;
      shown = true;
      const rate = bytes / ((now - started) / 1000);
      const left = rate > 0 ? formatDuration((total - bytes) / rate) : "?";
      const percent = total === 0 ? 100 : Math.floor((100 * bytes) / total);
      const line = `${label}  ${percent}%  ${formatBytes(bytes)} of ${formatBytes(total)}  ${formatBytes(rate)}/s  ${left} left`;
      terminal.write(`\r\u001b[K${line.slice(0, width - 1)}`);
    },
    clear: () => {
      if (shown) terminal.write("\r\u001b[K");
      shown = false;
    },
  };
}
