// The client's half of a stand-in call: it starts an agent of its own for the call and connects our stdin, stdout and
// stderr to it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { linkOver } from "./link.ts";

/** A call as the agent gets it. */
export interface Placement {
  /** A VM that runs, or `dom0`. */
  readonly target: string;
  readonly source: string;
  /** With its argument. */
  readonly service: string;
  /** `DEFAULT`, or a user's name. */
  readonly user: string;
  /** The client's process. */
  readonly client: number;
  /** For ssh: the shell command that is run instead of looking for a service. */
  readonly command?: string;
}

export interface Streams {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
}

/** Our own stdin, stdout and stderr, which the lab's wrappers put on 3, 4 and 5 so that Node can really close them. */
export function ownStreams(): Streams {
  return {
    stdin: new Socket({ fd: 3, readable: true, writable: false }),
    stdout: new Socket({ fd: 4, readable: false, writable: true }),
    stderr: new Socket({ fd: 5, readable: false, writable: true }),
  };
}

/** Places the call and resolves with its exit code: the service's own, 128+n, or 255 when the connection was lost. */
export async function placeCall(machine: string, placement: Placement, streams: Streams): Promise<number> {
  const agent = fileURLToPath(new URL("agent.ts", import.meta.url));
  const child = spawn(process.execPath, [agent, machine, JSON.stringify(placement)], {
    detached: true,
    cwd: "/",
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  child.unref();
  const link = linkOver(child.stdio[3] as Socket);
  link.send("stdin", streams.stdin);
  link.receive("stdout", streams.stdout);
  link.receive("stderr", streams.stderr);
  const code = await link.exit;
  streams.stdin.destroy();
  await Promise.all([drained(streams.stdout), drained(streams.stderr)]);
  return code ?? 255;
}

/** Waits until everything is out, or nobody is left who would read it. */
async function drained(sink: Writable): Promise<void> {
  if (sink.destroyed) return;
  sink.end();
  await once(sink, "close").catch(() => {});
}
