// What spbk-assemble prints when things went well: the list of a volume's sessions, and the result of an assembly, for
// people or as one JSON object a line.

import { join } from "node:path";
import { toHex } from "../../protocol/bytes.ts";
import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { Assembled } from "./assemble.ts";
import { AssembleError } from "./errors.ts";
import type { ListedVolume } from "./list-archive.ts";
import { formatBytes, formatDuration, formatTime, printable } from "./printable.ts";
import type { ScrubSummary } from "./scrub-archive.ts";
import type { Lost, OlderState } from "./untrash.ts";
import { allSessions, type FoundSession } from "./sessions.ts";

/** A line for each session, oldest first. */
export function sessionLines(index: VolumeIndex): readonly string[] {
  const sessions = allSessions(index);
  const heading = ["SESSION", "TIME", "SIZE", "STORED", "FORM", "STATE", "TAGS"];
  const rows = sessions.map(({ record, container }) => [
    container.name,
    formatTime(record.takenAt),
    formatBytes(record.size),
    formatBytes(container.storedBytes),
    container.form,
    record.protected ? `${record.consistency}, protected` : record.consistency,
    record.tags.join(" "),
  ]);
  return [
    `${printable(index.name)}: ${sessions.length} ${sessions.length === 1 ? "session" : "sessions"}`,
    ...tableLines([heading, ...rows]),
  ];
}

function tableLines(table: readonly (readonly string[])[]): readonly string[] {
  const widths = table[0]?.map((_, column) =>
    table.reduce((most, row) => Math.max(most, (row[column] ?? "").length), 0),
  );
  return table.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths?.[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

/** A line for each volume of an archive. */
export function volumeLines(volumes: readonly ListedVolume[]): readonly string[] {
  const rows = volumes.map(({ directory, index }) => [
    printable(directory),
    ...(index instanceof AssembleError
      ? ["", "", "can't be read"]
      : [
          String(index.sessions.length),
          newestOf(index) === undefined ? "" : formatTime(newestOf(index) ?? 0),
          printable(index.name),
        ]),
  ]);
  return tableLines([["DIRECTORY", "SESSIONS", "NEWEST", "VOLUME"], ...rows]);
}

/** The same for a program. */
export function volumeObjects(volumes: readonly ListedVolume[]): readonly object[] {
  return volumes.map(({ directory, index }) => ({
    type: "volume",
    directory,
    ...(index instanceof AssembleError
      ? { volume: null, error: index.message }
      : { volume: index.name, sessions: index.sessions.length, newest: newestOf(index) ?? null }),
  }));
}

const newestOf = (index: VolumeIndex): number | undefined => index.sessions.at(-1)?.takenAt;

/** The same for a program. */
export function sessionObjects(index: VolumeIndex): readonly object[] {
  return allSessions(index).map((each) => ({ type: "session", volume: index.name, ...sessionFields(each) }));
}

function sessionFields({ record, container }: FoundSession): object {
  return {
    session: container.name,
    uid: toHex(record.uid),
    sequence: record.sequence,
    takenAt: record.takenAt,
    size: record.size,
    chunks: container.chunks,
    storedBytes: container.storedBytes,
    form: container.form,
    consistency: record.consistency,
    protected: record.protected,
    tags: record.tags,
  };
}

/** What came of an assembly. */
export interface Outcome {
  readonly assembled: Assembled;
  readonly volume: string;
  /** The file that was made, `-` for a stream, undefined where everything was only checked. */
  readonly path: string | undefined;
  readonly seconds: number;
}

export function outcomeLines({ assembled, volume, path, seconds }: Outcome): readonly string[] {
  const { size, session, imageDigest } = assembled;
  const rate = formatBytes(size / Math.max(seconds, 0.001));
  const where =
    path === undefined
      ? "nothing, all of it was checked"
      : path === "-"
        ? "standard output"
        : printable(path);
  return [
    `volume:  ${printable(volume)}`,
    `session: ${session}`,
    `size:    ${size} bytes (${formatBytes(size)})`,
    `written: ${where}`,
    `time:    ${formatDuration(seconds)}, ${rate}/s`,
    `SHA-256 of the image: ${toHex(imageDigest)}`,
  ];
}

export function outcomeObject({ assembled, volume, path, seconds }: Outcome): object {
  return {
    type: path === undefined ? "verified" : "assembled",
    volume,
    session: assembled.session,
    size: assembled.size,
    sha256: toHex(assembled.imageDigest),
    path: path ?? null,
    seconds: Math.round(seconds * 1000) / 1000,
  };
}

/** How a scrub ended. */
export function scrubLines(summary: ScrubSummary, seconds: number): readonly string[] {
  const { generation, volumes, containers, bytes, damages, remarks, hit } = summary;
  const checked = `head ${generation}: ${volumes} volumes, ${containers} containers, ${formatBytes(bytes)} in ${formatDuration(seconds)}`;
  const said = remarks === 0 ? "" : `; ${remarks} ${remarks === 1 ? "remark" : "remarks"} above`;
  if (damages === 0) return [`${checked}: everything is in order${said}`];
  const where =
    hit.length === 0
      ? []
      : [
          `hit: ${hit.map(printable).join(", ")}`,
          "`sparsebak check` in dom0 says which sessions that costs; a session may need chunks of older ones",
        ];
  return [`${checked}: ${damages} ${damages === 1 ? "thing is" : "things are"} damaged${said}`, ...where];
}

/** What older states would bring back, and how to get it. */
export function untrashLines(states: readonly OlderState[], path: string): readonly string[] {
  const [newest] = states.flatMap(({ generation, whole, ownFiles }) =>
    [...whole, ...ownFiles].map((each) => ({ generation, ...each })),
  );
  if (states.length === 0) return ["nothing that was pruned or deleted is still there"];
  const line = ({ directory, session, volume }: Lost): string =>
    `  ${printable(directory)}  ${session}${volume === undefined || volume === directory ? "" : `  ${printable(volume)}`}`;
  const lines = states.flatMap(({ generation, createdAt, whole, ownFiles, broken }) => [
    `head ${generation}, ${formatTime(createdAt)}:`,
    ...whole.map(line),
    ...ownFiles.map((each) => `${line(each)}  its volume's own files are all there`),
    ...broken.map((each) => `${line(each)}  no longer whole`),
  ]);
  if (states.some(({ ownFiles }) => ownFiles.length > 0))
    lines.push(
      "whether all is there that it shares with other volumes, only a key can tell: --key, --passphrase-file",
    );
  if (newest === undefined) return lines;
  const volume = printable(join(path, newest.directory));
  return [
    ...lines,
    `to get one back: spbk-assemble ${volume} --head ${newest.generation} --session ${newest.session} -o FILE`,
  ];
}
