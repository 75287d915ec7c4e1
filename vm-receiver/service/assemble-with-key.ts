// Building an image of a sealed archive: spbk-assemble in a process of its own gets the key on a descriptor, never in an
// argument, the environment or a file, and this process forgets it (design section 8, "Reading in a VM").

import { fileURLToPath } from "node:url";
import type { Digest, SessionUid } from "../../protocol/archive/types.ts";
import { fromHex, toHex } from "../../protocol/bytes.ts";
import type { Assembled } from "../../protocol/wire/messages.ts";
import type { Directory } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { shown } from "../sanitize.ts";
import { runProgram } from "../tools.ts";

export interface KeyedAssembly {
  readonly volumeDirectory: string;
  readonly session: SessionUid;
  readonly key: Uint8Array;
  readonly to: { readonly directory: Directory; readonly name: string };
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number, chunks: number) => void;
}

/** In dist/lib/ the program lies beside the receiver. */
const program: string = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "../assemble/cli.ts" : "./spbk-assemble.mjs", import.meta.url),
);
const keyDescriptor = 3;
const [archiveDescriptor, outputDescriptor] = [4, 5];

/** Builds the image. RefusalError, with what spbk-assemble said. */
export async function assembleWithKey(root: Directory, asked: KeyedAssembly): Promise<Assembled> {
  const { to, signal, key } = asked;
  const args = [
    `/proc/self/fd/${archiveDescriptor}/${asked.volumeDirectory}`,
    `--session=${toHex(asked.session)}`,
    `--key-fd=${keyDescriptor}`,
    `--output=/proc/self/fd/${outputDescriptor}/${to.name}`,
    "--json",
    "--report-progress",
  ];
  let assembled: Assembled | undefined;
  const onLine = (line: string): void => {
    const found = JSON.parse(line) as Partial<Record<string, unknown>>;
    if (found["type"] === "progress") asked.onProgress(Number(found["bytes"]), Number(found["chunks"]));
    const digest = found["type"] === "assembled" ? fromHex(String(found["sha256"])) : undefined;
    if (digest !== undefined) assembled = { imageDigest: digest as Digest, size: Number(found["size"]) };
  };
  const descriptors = [root.fd, to.directory.fd];
  const { exitCode, problem } = await runProgram(program, args, { secret: key, descriptors, signal, onLine });
  if (exitCode === 0 && assembled !== undefined) return assembled;
  if (signal.aborted) throw new RefusalError("stopped", "stopped");
  const said = shown(withoutDescriptors(/error: ([^\n]*)/.exec(problem)?.[1] ?? problem), 400);
  if (exitCode === 5) throw new RefusalError("corrupt", said);
  throw new RefusalError(/exists/.test(said) ? "exists" : /key/.test(said) ? "not-allowed" : "io", said);
}

/** Text without what only this process can open: `/proc/self/fd/5/work.img` is `work.img` to everybody else. */
export function withoutDescriptors(text: string): string {
  return text.replaceAll(/\/proc\/self\/fd\/\d+\//g, "");
}
