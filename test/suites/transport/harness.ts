// What a transport is tested with: the programs that it reaches.

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Connection, Transport } from "../../../dom0-agent/transport/transport.ts";

export interface TransportHarness extends AsyncDisposable {
  readonly transport: Transport;
  /** Makes `program`, the text of a JavaScript module, the service. */
  serve(program: string): void;
  /** Makes a login shell print `text` before the service says anything; where there is no such shell, absent. */
  readonly loginNoise?: (text: string) => void;
  /** A directory for what the service writes down, empty at first. */
  readonly notes: string;
  /** A text that the command line of every process holds that the transport or the service consists of. */
  readonly mark: string;
}

export const service = "sparsebak.Send";
const never: AbortSignal = new AbortController().signal;
export const frameModule: string = pathToFileURL(
  join(import.meta.dirname, "../../../protocol/wire/frame.ts"),
).href;

/** What services begin with. */
export const prelude = `
import { createHash } from "node:crypto";
import { closeSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { once } from "node:events";
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** Writes a note so that it is there whole or not at all. */
const note = (path, text) => { writeFileSync(path + ".new", text); renameSync(path + ".new", path); };
const say = async (bytes) => { if (!process.stdout.write(bytes)) await once(process.stdout, "drain"); };
const digestOf = async (stream) => {
  const hash = createHash("sha256");
  for await (const bytes of stream) hash.update(bytes);
  return hash.digest("hex");
};
`;

/** A service that never reads, and ends when nobody is left to hear it. */
export const deaf = `process.stdout.on("error", () => process.exit(1)); setInterval(() => process.stdout.write("."), 50);`;

/** A connection to a service of its own, whose text `program` is, behind the prelude. */
export async function open(harness: TransportHarness, program: string): Promise<Connection> {
  harness.serve(prelude + program);
  return harness.transport.open(service, never);
}
