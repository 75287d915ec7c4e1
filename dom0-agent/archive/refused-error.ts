// What a receiver answers where it does not do what it was asked, as an error: the exit status that each refusal is, and
// what the user can do about it.

import type { MessageName, Refusal } from "../../protocol/wire/messages.ts";
import { utf8 } from "../../protocol/wire/writer.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import { printable } from "../transport/printable.ts";

/** The receiver refused a request, or gave the connection up. */
export class RefusedError extends AgentError {
  override readonly name: string = "RefusedError";
  readonly code: Refusal;

  /** `who`: the receiver. Refused in answer to the hello, not-allowed is a matter of its settings. */
  constructor(who: string, code: Refusal, untrustedReason: string, inAnswerTo?: MessageName) {
    const hint = code === "not-allowed" && inAnswerTo !== "agentHello" ? undefined : hints[code];
    super(refusalReasons[code], `${who}: ${code}: ${printable(utf8(untrustedReason))}`, hint);
    this.code = code;
  }
}

/** Which exit status a refusal is. */
const refusalReasons: Readonly<Record<Refusal, ExitReason>> = {
  "not-mounted": "destination",
  "read-only": "destination",
  "no-space": "destination",
  "no-inodes": "destination",
  "not-allowed": "destination",
  busy: "locked",
  stale: "integrity",
  exists: "failed",
  missing: "failed",
  malformed: "failed",
  corrupt: "integrity",
  unsupported: "failed",
  io: "failed",
  stalled: "destination",
  stopped: "destination",
  internal: "failed",
};

const hints: Partial<Record<Refusal, string>> = {
  "not-mounted": "attach and mount the backup drive in the destination, then run the command again",
  "read-only": "mount the destination writable",
  "no-space": "make room in the destination; nothing that was committed is lost",
  "no-inodes": "use --tarfile, which needs one file a session, or another file system",
  "not-allowed": "see receiver.ini in the destination",
  busy: "wait until the other run has ended",
};
