// Volumes that Qubes OS owns are restored by Qubes OS itself: `qvm-volume import` puts the data into a new volume of its
// own, which becomes the VM's at the exact size and the end of the stream, and refuses a volume in use (facts of Qubes).
// So the last byte is withheld until everything before it is verified and written (design section 8).

import type { SourceSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { hasTool, runTool, startPiped } from "../tools.ts";
import { stderrTail } from "../transport/stderr-tail.ts";
import { type Restored, restoreStream, type Work } from "./restore-into.ts";

/** Milliseconds that an import which was given up has for tidying up. */
const graceMs = 60_000;

export interface QubesVolume {
  readonly vm: string;
  readonly volume: "private" | "root";
}

/** Which VM's volume that is, on a machine that runs Qubes OS; undefined for all others. */
export function qubesVolumeOf(source: SourceSettings, name: string): QubesVolume | undefined {
  if (!hasTool("qvm-volume")) return undefined;
  const pattern =
    source.kind === "lvm"
      ? /^vm-(.+)-(private|root)$/
      : /^(?:appvms|vm-templates)\/([^/]+)\/(private|root)\.img$/;
  if (source.kind === "files" && source.localPath !== "/var/lib/qubes") return undefined;
  const [, vm, volume] = pattern.exec(name) ?? [];
  return vm === undefined ? undefined : { vm, volume: volume === "root" ? "root" : "private" };
}

/** Throws AgentError where the VM does not exist or runs. Asked before anything is fetched. */
export async function checkQubesVolume({ vm }: QubesVolume, signal: AbortSignal): Promise<void> {
  const is = async (...options: readonly string[]): Promise<boolean> =>
    (await runTool("qvm-check", ["--quiet", ...options, vm], { signal })).exitCode === 0;
  if (!(await is())) {
    throw new AgentError(
      "failed",
      `receive: there is no VM ${vm}`,
      `make it first (qvm-create ${vm}), or restore to a file with --save-to`,
    );
  }
  if (await is("--running"))
    throw new AgentError(
      "failed",
      `receive: VM ${vm} runs: its volume is in use`,
      `qvm-shutdown --wait ${vm}`,
    );
}

/** Streams the volume into `qvm-volume import`. Throws AgentError; then the VM's volume is what it was. */
export async function importVolume(work: Work, { vm, volume }: QubesVolume): Promise<Restored> {
  const size = work.map.size;
  if (size === 0)
    throw new AgentError("failed", `receive: ${work.volume}: a volume of 0 bytes can't be imported`);
  const child = startPiped("qvm-volume", ["import", `--size=${size}`, `${vm}:${volume}`, "-"]);
  const said = stderrTail(child.stderr);
  child.stdout.resume();
  let broken: Error | undefined;
  child.stdin.on("error", (error) => (broken ??= error));
  const explain = async (): Promise<AgentError> => {
    const end = await child;
    const text = said.text();
    const why = text === "" ? `exit status ${end.exitCode ?? end.signal ?? "unknown"}` : text;
    return new AgentError("failed", `receive: ${work.volume}: qvm-volume import: ${why}`);
  };
  const write = async (bytes: Uint8Array): Promise<void> => {
    if (broken !== undefined) throw await explain();
    await new Promise<void>((resolve) => child.stdin.write(bytes, () => resolve()));
    if (broken !== undefined) throw await explain();
  };
  try {
    let sent = 0;
    let last: Uint8Array = new Uint8Array(0);
    const restored = await restoreStream(work, async (bytes) => {
      sent += bytes.length;
      const kept = sent === size ? 1 : 0;
      if (kept > 0) last = bytes.slice(-1);
      await write(bytes.subarray(0, bytes.length - kept));
    });
    work.signal.throwIfAborted();
    await write(last);
    child.stdin.end();
    const end = await child;
    if (end.exitCode !== 0) throw await explain();
    return restored;
  } finally {
    // Short of a byte, what was streamed is no volume: the import sees its end, fails, and tidies up.
    child.stdin.destroy();
    const timer = setTimeout(() => child.kill("SIGKILL"), graceMs);
    await child;
    clearTimeout(timer);
  }
}
