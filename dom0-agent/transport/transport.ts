// How the agent reaches a receiver: qrexec, ssh, or a child of its own. Whatever it is, it is two byte streams and an
// end. test/suites/transport.ts is the suite that every implementation passes.

import type { Service } from "../../protocol/wire/messages.ts";

/** How a connection ended. The exit code is a hint only: any service can return any of them (qrexec facts). */
export interface ConnectionEnd {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  /** What the process wrote to stderr: at most 4 KiB from its end, escaped, safe to print. */
  readonly stderr: string;
  /** What the exit code of this transport means, in words, when it means something ("the VM is not running"). */
  readonly meaning: string | undefined;
  /** Which of the exit statuses this failure is, where the transport can tell: the destination is not there (halted,
   *  refused, unknown) or something else broke. */
  readonly unreachable: boolean;
  /** What the user can do about it, where the transport knows. */
  readonly hint?: string | undefined;
}

export interface Connection extends AsyncDisposable {
  /** What the receiver says. One consumer. Each array may be overwritten once the next is asked for. */
  readonly incoming: AsyncIterable<Uint8Array>;
  /** Hands `bytes` to the pipe; resolves when the pipe has taken enough of it that more may be written. The array must
   *  not be changed before `flushed` of a later write resolves. Rejects (TransportError) when the pipe is closed. */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when everything written so far has left our process. */
  flushed(): Promise<void>;
  /** Ends our side of the stream; the receiver may still answer. */
  end(): Promise<void>;
  /** Ends the connection at once: kills the child (and what it started). Reads and writes that wait, and later ones,
   *  then throw `reason`. Idempotent. */
  abort(reason?: Error): void;
  /** Resolves once the process is gone and its stderr is read, whatever ended it. Never rejects. */
  readonly ended: Promise<ConnectionEnd>;
}

export interface Transport {
  /** For messages: `VM backup`, `this machine`, `ssh user@host`. */
  readonly name: string;
  /** Starts the service and connects. Throws TransportError when that fails at once. */
  open(service: Service, signal: AbortSignal): Promise<Connection>;
}

/** The pipe to the receiver broke or could not be made. */
export class TransportError extends Error {
  override readonly name: string = "TransportError";
  /** True when the destination is not there: halted, refused by policy, unknown host. */
  readonly unreachable: boolean;
  readonly hint: string | undefined;

  constructor(message: string, unreachable: boolean, hint?: string) {
    super(message);
    this.unreachable = unreachable;
    this.hint = hint;
  }
}
