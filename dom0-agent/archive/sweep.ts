// Behind the steps that remove something: the receiver carries out the dead lists that are due. What was committed stays
// so, whatever becomes of this; what is left undone, the next prune does.

import { maxDeadBytes } from "../../protocol/archive/dead-file.ts";
import { capabilities } from "../../protocol/wire/messages.ts";
import type { Reporter } from "../context.ts";
import { metaOf, type OpenArchive } from "./archive.ts";
import type { Client } from "./client.ts";
import { notSwept } from "./not-swept.ts";

export interface Swept {
  /** Bytes that came free, by the receiver's own word. */
  readonly bytes: number;
  /** What the newest step removed is kept until the destination's trash time is over, by its own word too. */
  readonly waits: boolean;
}

/** The receiver can give back what is dead inside of a tar. Only a connection to sparsebak.Prune knows. */
export function punchesHoles({ hello }: Client): boolean {
  return (hello.capabilities & capabilities.punchHoles) !== 0;
}

/** Sweeps, and ends the dialogue. */
export async function sweep({ client, head }: OpenArchive): Promise<Swept> {
  const { bytes } = await client.ask("sweep", {});
  const list = await client.read(metaOf("dead", head.generation), maxDeadBytes, () => undefined);
  await client.close();
  return { bytes, waits: list !== undefined };
}

/** The same for a command that has done all that it was asked for: a failure is only said. */
export async function sweepOrWarn(report: Reporter, open: OpenArchive): Promise<void> {
  try {
    await sweep(open);
  } catch (error) {
    report.warn(notSwept(open.settings.name, error as Error));
  }
}
