// Which exit status an error is.

import { AgentError, type ExitReason } from "./errors.ts";
import { TransportError } from "./transport/transport.ts";

export function reasonOf(error: unknown): ExitReason {
  if (error instanceof AgentError) return error.reason;
  return error instanceof TransportError ? "destination" : "failed";
}
