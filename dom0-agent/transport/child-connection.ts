// A connection over the pipes of a child process of ours, which is what all three transports come down to: a client
// of qrexec, ssh, or the receiver itself. The child leads a process group of its own, so that nothing it started
// outlives it, and a Ctrl-C at the terminal reaches us alone.

import { startPiped, type PipedChild, type Tool } from "../tools.ts";
import { incoming } from "./incoming.ts";
import { outgoing } from "./outgoing.ts";
import { stderrTail } from "./stderr-tail.ts";
import { type Connection, type ConnectionEnd, TransportError } from "./transport.ts";

/** Milliseconds between SIGTERM and SIGKILL; also what a child may take to leave after we have ended our side. */
const graceMs = 2000;
/** Milliseconds that stderr may stay open behind a child that is gone. */
const stderrGraceMs = 500;
/** Milliseconds after SIGKILL in which a child that hangs in the kernel is waited for. */
const killMs = 10_000;

/** What an end means; the transport says, the code alone proves nothing. */
export interface EndMeaning {
  readonly meaning: string | undefined;
  readonly unreachable: boolean;
  readonly hint?: string | undefined;
}

export interface ChildCommand {
  /** The transport's name, for messages. */
  readonly name: string;
  readonly command: Tool | `/${string}`;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What to do when the program itself is not there. */
  readonly missingHint: string;
  /** `heard`: a byte had come from the other side. */
  explain(exitCode: number | undefined, heard: boolean): EndMeaning;
}

/**
 * Starts the child and connects to it. `signal` aborts the connection for as long as it lives. Throws TransportError
 * when the program can't be started, and the signal's reason when it is aborted already.
 */
export async function openChild(command: ChildCommand, signal: AbortSignal): Promise<Connection> {
  signal.throwIfAborted();
  const child = startPiped(command.command, command.args, { ownGroup: true, env: command.env ?? {} });
  if (child.pid === undefined) {
    const { code } = (await child) as { readonly code?: string };
    const why = code === "ENOENT" ? "program not found" : `it could not be started (${code ?? "unknown"})`;
    throw new TransportError(
      `connect to ${command.name}: ${command.command}: ${why}`,
      true,
      command.missingHint,
    );
  }
  return connect(command, child, child.pid, signal);
}

function connect(command: ChildCommand, child: PipedChild, pid: number, signal: AbortSignal): Connection {
  const { name } = command;
  // All three streams get their readers here, before the child can say anything.
  const input = incoming(child.stdout);
  const output = outgoing(child.stdin);
  const stderr = stderrTail(child.stderr);
  let aborted: Error | undefined;
  let saidGoodbye = false;
  let gone = false;
  let timer: NodeJS.Timeout | undefined;

  const { promise: ended, resolve: resolveEnded } = Promise.withResolvers<ConnectionEnd>();
  const conclude = (exitCode: number | undefined, endSignal: string | undefined, meant: EndMeaning): void => {
    signal.removeEventListener("abort", onSignal);
    resolveEnded({ exitCode, signal: endSignal, stderr: stderr.text(), ...meant });
    if (aborted !== undefined) destroyStreams(child);
  };

  child.nodeChildProcess.once("exit", (exitCode, endSignal) => {
    gone = true;
    clearTimeout(timer);
    // At once, while the number can't belong to anyone else: what the child has left behind in its group.
    killGroup(pid, "SIGKILL");
    const code = exitCode ?? undefined;
    const finish = (): void => {
      conclude(code, endSignal ?? undefined, command.explain(code, input.heard));
    };
    if (child.stderr.closed) finish();
    else {
      const late = setTimeout(() => child.stderr.destroy(), stderrGraceMs);
      child.stderr.once("close", () => {
        clearTimeout(late);
        finish();
      });
    }
  });

  const abort = (reason?: Error): void => {
    if (aborted !== undefined) return;
    aborted = reason ?? new TransportError(`connection to ${name} was given up`, false);
    input.fail(aborted);
    child.stdin.destroy();
    if (gone) {
      destroyStreams(child);
      return;
    }
    killGroup(pid, "SIGTERM");
    timer = setTimeout(() => {
      killGroup(pid, "SIGKILL");
      timer = setTimeout(() => {
        destroyStreams(child);
        // It waits in the kernel, for a file server that is gone: nobody waits for it, this process's end neither.
        child.nodeChildProcess.unref();
        conclude(undefined, undefined, { meaning: "it did not end when it was killed", unreachable: false });
      }, killMs);
    }, graceMs);
  };
  function onSignal(): void {
    abort(signal.reason instanceof Error ? signal.reason : undefined);
  }
  signal.addEventListener("abort", onSignal);

  /** Runs a step of our side and turns its failure into one that says how the connection ended. */
  const sending = async (step: Promise<void>): Promise<void> => {
    try {
      await step;
    } catch {
      if (aborted !== undefined) throw aborted;
      // The pipe breaks a moment before the child is gone; but one that only closed its stdin may live on.
      const end = await Promise.race([ended, later(graceMs)]);
      throw aborted ?? connectionLost(name, `write to ${name}`, end);
    }
  };

  return {
    incoming: input.chunks,
    write: async (bytes) => sending(output.write(bytes)),
    flushed: async () => sending(output.flushed()),
    end: async () => {
      saidGoodbye = true;
      await sending(output.end());
    },
    abort,
    ended,
    [Symbol.asyncDispose]: async () => {
      if (saidGoodbye && !gone && aborted === undefined) {
        input.fail(new TransportError(`connection to ${name} is closed`, false));
        await Promise.race([ended, later(graceMs)]);
      }
      abort();
      await ended;
    },
  };
}

/** The error of a connection that ended too early; without `end`, of one that no longer takes what we say. */
export function connectionLost(name: string, action: string, end: ConnectionEnd | undefined): TransportError {
  if (end === undefined) {
    return new TransportError(`${action}: the other side no longer reads what it is sent`, false);
  }
  const how = end.meaning ?? howItEnded(end);
  const said = end.stderr === "" ? "" : `; ${name} printed: ${end.stderr}`;
  return new TransportError(`${action}: ${how}${said}`, end.unreachable, end.hint);
}

function howItEnded(end: ConnectionEnd): string {
  if (end.signal !== undefined) return `the connection was ended by ${end.signal}`;
  return `the connection was ended by the other side (exit code ${end.exitCode ?? "unknown"})`;
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody is left in it.
  }
}

function destroyStreams(child: PipedChild): void {
  for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
}

async function later(ms: number): Promise<undefined> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms, undefined).unref();
  });
}
