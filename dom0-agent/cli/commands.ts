// What each command does, and what it prints.

import { isVolumeName } from "../../protocol/archive/names.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import { chooseArchive, chooseVolumes } from "../session/choose-volumes.ts";
import type { Context } from "../session/context.ts";
import type { Output } from "./output.ts";
import { bytesText, durationText, timeText } from "./units.ts";

export interface CommandOptions {
  readonly volumes: readonly string[];
  readonly all: boolean;
  readonly dest?: string | undefined;
}

export async function runMonitor(
  context: Context,
  output: Output,
  options: CommandOptions & { readonly committed: boolean },
): Promise<ExitReason> {
  const volumes = await chooseVolumes(context.settings, context.storage, options.volumes, options.all);
  if (!context.storage.capabilities.snapshots) {
    output.line("nothing to monitor: image files are compared when they are sent", {
      type: "monitor",
      volumes: 0,
    });
    return "done";
  }
  const { monitor } = await import("../session/monitor.ts");
  const results = await monitor(context, { volumes, committed: options.committed, forSend: false });
  for (const result of results) {
    if (result.ok) {
      const changed = result.changedBytes ?? 0;
      const message = changed === 0 ? "unchanged" : `at most ${bytesText(changed)} changed`;
      output.volume({
        volume: result.volume,
        command: "monitor",
        ok: true,
        message,
        fields: { changedBytes: changed },
      });
    } else {
      const { volume, error } = result;
      output.volume({ volume, command: "monitor", ok: false, message: error.message, hint: error.hint });
    }
  }
  const untracked = volumes.length - results.length;
  if (untracked > 0)
    output.notice(
      `${untracked} of ${volumes.length} volumes have never been sent: send begins to track them`,
    );
  const failed = results.filter((each) => !each.ok).length;
  if (failed === 0) return "done";
  return failed === volumes.length ? "failed" : "partly";
}

export async function runSend(
  context: Context,
  options: CommandOptions & {
    readonly committed: boolean;
    readonly tarfile: boolean;
    readonly tags: readonly string[];
  },
): Promise<ExitReason> {
  for (const tag of options.tags) {
    if (!/^[A-Za-z0-9._+-]{1,64}$/.test(tag)) {
      throw new AgentError("usage", `tag: found «${tag}», wanted 1 to 64 letters, digits and ._+-`);
    }
  }
  const archive = chooseArchive(context.settings, options.dest);
  const volumes = await chooseVolumes(context.settings, context.storage, options.volumes, options.all);
  const { send } = await import("../session/send.ts");
  const form = options.tarfile ? "tar" : "dir";
  return send(context, archive, volumes, {
    form,
    committed: options.committed,
    tags: options.tags,
    startedAt: Date.now(),
  });
}

export async function runList(
  context: Context,
  output: Output,
  options: CommandOptions,
): Promise<ExitReason> {
  const archive = chooseArchive(context.settings, options.dest);
  const { list } = await import("../session/list.ts");
  for (const { volume, directory, sessions } of await list(context, archive, options.volumes)) {
    const last = sessions.at(-1);
    const stored = sessions.reduce((sum, each) => sum + each.storedBytes, 0);
    const summary = `${sessions.length} sessions, ${bytesText(stored)} stored, last ${last?.name ?? "none"}, ${bytesText(last?.size ?? 0)}`;
    output.line(`${volume}: ${summary}`, { type: "list", volume, directory, sessions });
    if (options.volumes.length === 0) continue;
    for (const each of sessions) {
      const tags = each.tags.length === 0 ? "" : `  ${each.tags.join(" ")}`;
      const text = `  ${each.name}  ${timeText(each.takenAt)}  ${bytesText(each.size)}  +${bytesText(each.storedBytes)}  ${each.form}  ${each.consistency}${tags}`;
      output.line(text, { type: "session", volume, ...each });
    }
  }
  return "done";
}

export async function runStatus(context: Context, output: Output): Promise<ExitReason> {
  const { status } = await import("../session/status.ts");
  const found = await status(context);
  const { dataPercent, metadataPercent } = found.pool;
  if (dataPercent !== undefined && metadataPercent !== undefined) {
    output.line(`pool: data ${dataPercent} %, metadata ${metadataPercent} %`, {
      type: "pool",
      ...found.pool,
    });
  }
  for (const each of found.volumes) {
    const age =
      each.last === undefined
        ? "never sent"
        : `${each.last.name}, current ${durationText((Date.now() - each.last.currentAt) / 1000)} ago`;
    const cost =
      each.toRead === undefined
        ? "a send compares all of it"
        : `a send reads at most ${bytesText(each.toRead)}`;
    const state = each.present ? cost : "gone from this machine";
    output.line(
      `${each.volume} (${each.archive}): ${age}; ${state}${each.pending ? "; a send of it was cut short" : ""}`,
      {
        type: "status",
        ...each,
      },
    );
  }
  for (const volume of found.neverSent)
    output.line(`${volume}: never sent`, { type: "status", volume, last: null });
  const orphans = found.snapshots.filter(
    (each) => !found.volumes.some((known) => known.present && known.volume === each.volume),
  );
  for (const each of orphans) {
    output.line(`${each.name}: a snapshot of a volume that is gone`, {
      type: "orphan",
      snapshot: each.name,
      createdAt: each.createdAt,
    });
  }
  return "done";
}

export async function runAssemble(
  context: Context,
  output: Output,
  options: CommandOptions & {
    readonly session?: string | undefined;
    readonly saveTo: string;
    readonly force: boolean;
  },
): Promise<ExitReason> {
  const [volume] = options.volumes;
  if (volume === undefined || options.volumes.length !== 1 || !isVolumeName(volume)) {
    throw new AgentError("usage", `assemble: found ${options.volumes.length} volumes, wanted one`);
  }
  const archive = chooseArchive(context.settings, options.dest);
  const { assemble } = await import("../session/assemble.ts");
  const { session, saveTo, force } = options;
  const done = await assemble(context, archive, { volume, session, saveTo, replace: force });
  output.line(`${volume}: ${done.session}, ${bytesText(done.size)}, SHA-256 ${done.imageDigest}`, {
    type: "assemble",
    volume,
    ...done,
  });
  return "done";
}
