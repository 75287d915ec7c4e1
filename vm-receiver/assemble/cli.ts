// spbk-assemble: builds a disk image out of an archive, with nothing but the archive (docs/man/spbk-assemble.1). This
// file turns arguments into calls and results into text and an exit status; what it does not need at once, it loads
// when it does.

import { constants } from "node:os";
import { resolve } from "node:path";
import { type Arguments, name, parse } from "./arguments.ts";
import { AssembleError, exitStatuses } from "./errors.ts";
import type { OpenKeys } from "./open-keys.ts";
import { printable, printableJson } from "./printable.ts";
import type { VolumePath } from "./volume-path.ts";

function print(to: NodeJS.WriteStream, lines: readonly string[]): void {
  to.write(lines.map((line) => `${line}\n`).join(""));
}

function warn(message: string): void {
  process.stderr.write(`${name}: warning: ${printable(message)}\n`);
}

function warnerFor({ quiet }: Arguments): (message: string) => void {
  return quiet ? () => undefined : warn;
}

/** Checks the whole archive; gives the exit status. */
async function scrub(found: Arguments, signal: AbortSignal): Promise<number> {
  const { scrubArchive, foundLine, foundObject } = await import("./scrub-archive.ts");
  const bar = await startBar(found, "scrub");
  const started = performance.now();
  try {
    const summary = await scrubArchive({
      path: found.path,
      head: found.head,
      onFound: (each) => {
        bar?.clear();
        const line = found.json ? printableJson(foundObject(each)) : printable(foundLine(each));
        print(process.stdout, [line]);
      },
      onUncopied: (where) => {
        bar?.clear();
        const line = found.json
          ? printableJson({ type: "remark", where, file: "copy", what: "missing" })
          : printable(
              `${where} is missing: a second copy; the next command that writes to the archive makes it`,
            );
        print(process.stdout, [line]);
      },
      onProgress: (progress) => bar?.update(progress),
      signal,
    });
    bar?.clear();
    const { scrubLines } = await import("./report.ts");
    const seconds = (performance.now() - started) / 1000;
    if (found.json) print(process.stdout, [printableJson({ type: "scrubbed", ...summary, seconds })]);
    else if (!found.quiet) print(process.stdout, scrubLines(summary, seconds));
    if (summary.damages === 0) return exitStatuses.done;
    if (!summary.movedOn) return exitStatuses.integrity;
    warn(
      "the archive was changed while it was being checked, so what was found may be no damage: scrub it again",
    );
    return exitStatuses.failed;
  } finally {
    bar?.clear();
  }
}

async function untrash(found: Arguments, signal: AbortSignal): Promise<void> {
  const { olderStates } = await import("./untrash.ts");
  const source = keySource(found);
  const file = found.passphraseFile;
  const unlock = source === undefined && file === undefined ? undefined : await import("./unlock.ts");
  const states = await olderStates(found.path, signal, (header) => {
    if (source !== undefined) return unlock?.keysOfReadKey(unlock.readKeyFrom(source));
    if (file === undefined) return undefined;
    return unlock?.keysOfSecret(header, unlock.passphraseFrom(file, warnerFor(found)));
  });
  const { untrashLines } = await import("./report.ts");
  print(
    process.stdout,
    found.json
      ? states.map((each) => printableJson({ type: "head", ...each }))
      : untrashLines(states, found.path),
  );
}

function keySource(found: Arguments): string | number | undefined {
  return found.key === "-" ? 0 : (found.key ?? found.keyFd);
}

async function run(found: Arguments, signal: AbortSignal): Promise<void> {
  const { archiveAt, resolveVolumePath } = await import("./volume-path.ts");
  const source = keySource(found);
  const archivePath = found.list && source === undefined ? archiveAt(found.path) : undefined;
  if (archivePath !== undefined) {
    await listArchive(found, archivePath, signal);
    return;
  }
  const unlock = source === undefined ? undefined : await import("./unlock.ts");
  const readKey = source === undefined ? undefined : unlock?.readKeyFrom(source);
  const place = resolveVolumePath(found.path, readKey && unlock?.sealedDirectory(readKey));
  const keys = readKey ? unlock?.keysOfReadKey(readKey) : await keysOfPassphrase(found, place, signal);
  const options = {
    ...place,
    keys,
    head: found.head,
    allowOlderHead: found.allowOlderHead,
    warn: warnerFor(found),
  };
  const { assembleVolume, openVolume } = await import("./assemble.ts");
  const report = await import("./report.ts");
  const { index } = openVolume(options);
  if (found.list) {
    const lines = found.json
      ? report.sessionObjects(index).map((each) => printableJson(each))
      : report.sessionLines(index);
    print(process.stdout, lines);
    return;
  }
  const { findSession } = await import("./sessions.ts");
  const session = findSession(index, found.session);
  const path = found.verify ? undefined : (found.output ?? defaultOutput(index.name));
  const bar = await startBar(found, index.name);
  const started = performance.now();
  let reported = 0;
  try {
    const assembled = await assembleVolume({
      ...options,
      warn: () => undefined, // said when the volume was opened above
      session: session.record.uid,
      output: asOutput(path, found.force),
      signal,
      onProgress: (progress) => {
        bar?.update(progress);
        reported = reportProgress(found, progress, reported);
      },
    });
    bar?.clear();
    const seconds = (performance.now() - started) / 1000;
    const outcome = {
      assembled,
      volume: index.name,
      path: path === "-" || path === undefined ? path : resolve(path),
      seconds,
    };
    const lines = found.json ? [printableJson(report.outcomeObject(outcome))] : report.outcomeLines(outcome);
    const to = path === "-" ? process.stderr : process.stdout;
    if (!found.quiet || found.json) print(to, lines);
  } finally {
    bar?.clear();
  }
}

/** Prints the volumes of an archive. Throws the first error where some of them can't be read. */
async function listArchive(found: Arguments, archivePath: string, signal: AbortSignal): Promise<void> {
  const { head, allowOlderHead } = found;
  const keys = await keysOfPassphrase(found, { archivePath, volumeDirectory: "." }, signal);
  const { listVolumes } = await import("./list-archive.ts");
  const { volumeLines, volumeObjects } = await import("./report.ts");
  const volumes = listVolumes(archivePath, { keys, head, allowOlderHead, warn: warnerFor(found) });
  const objects = (): readonly string[] => volumeObjects(volumes).map((each) => printableJson(each));
  print(process.stdout, found.json ? objects() : volumeLines(volumes));
  for (const { index } of volumes) if (index instanceof AssembleError) throw index;
}

/** For a receiver that waits for the image: how far it is, twice a second. Gives when it was last said. */
function reportProgress(found: Arguments, progress: object, last: number): number {
  const now = performance.now();
  if (!found.reportProgress || now - last < 500) return last;
  print(process.stdout, [printableJson({ type: "progress", ...progress })]);
  return now;
}

/** Keys from a passphrase, which is asked for where the archive is sealed and somebody is there to answer. */
async function keysOfPassphrase(
  found: Arguments,
  place: VolumePath,
  signal: AbortSignal,
): Promise<OpenKeys | undefined> {
  const file = found.passphraseFile;
  const { checkSealed, openArchiveState } = await import("./archive-state.ts");
  const { allowOlderHead, head } = found;
  const state = openArchiveState(place.archivePath, place.volumeDirectory, { allowOlderHead, head });
  if (!state.header.sealed && file === undefined) return undefined;
  checkSealed(state, file !== undefined || process.stdin.isTTY);
  const unlock = await import("./unlock.ts");
  if (file !== undefined)
    return unlock.keysOfSecret(state.header, unlock.passphraseFrom(file, warnerFor(found)));
  const { askSecret } = await import("./ask-secret.ts");
  return unlock.keysOfSecret(
    state.header,
    await askSecret("Passphrase, or recovery form of the key", signal),
  );
}

function asOutput(path: string | undefined, replace: boolean): import("./assemble.ts").AssembleOutput {
  if (path === undefined) return { kind: "none" };
  return path === "-" ? { kind: "stream", fd: 1 } : { kind: "file", path: resolve(path), replace };
}

/** `./NAME.img`, NAME being the last part of the volume's name. */
function defaultOutput(volume: string): string {
  const last = volume.split("/").at(-1) ?? volume;
  return `./${last.endsWith(".img") ? last : `${last}.img`}`;
}

async function startBar(
  found: Arguments,
  volume: string,
): Promise<import("./progress-bar.ts").ProgressBar | undefined> {
  if (found.quiet || !found.progress || !process.stderr.isTTY) return undefined;
  const { progressBar } = await import("./progress-bar.ts");
  return progressBar(process.stderr, printable(volume));
}

/** Prints what went wrong; gives the exit status. */
function fail(error: unknown): number {
  const known = error instanceof AssembleError;
  const message = error instanceof Error ? error.message : String(error);
  // An error that is none of ours is a bug: its stack says where, for a report.
  process.stderr.write(`${name}: error: ${known ? "" : "internal: "}${printable(message)}\n`);
  if (!known && error instanceof Error)
    process.stderr.write(`${(error.stack ?? "").split("\n").map(printable).join("\n")}\n`);
  if (known && error.hint !== undefined) process.stderr.write(`${name}: hint: ${printable(error.hint)}\n`);
  return known ? error.exitStatus : exitStatuses.failed;
}

async function main(): Promise<number> {
  // A reader that goes away before the end (`| head`) is no error.
  for (const each of [process.stdout, process.stderr]) each.on("error", () => undefined);
  const controller = new AbortController();
  let signalled: NodeJS.Signals | undefined;
  for (const each of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(each, () => {
      signalled = each;
      controller.abort(each);
    });
  }
  try {
    const found = await parse(process.argv.slice(2));
    if (found?.scrub === true) return await scrub(found, controller.signal);
    if (found?.untrash === true) await untrash(found, controller.signal);
    else if (found !== undefined) await run(found, controller.signal);
    return exitStatuses.done;
  } catch (error) {
    if (signalled === undefined) return fail(error);
    process.stderr.write(`${name}: error: stopped by ${signalled}, nothing was left behind\n`);
    return 128 + constants.signals[signalled];
  }
}

process.exitCode = await main();
