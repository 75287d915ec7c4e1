// Why a dialogue ended, for the user: that the receiver broke the protocol, or what its transport knows of its end.

import { FormatError } from "../../protocol/errors.ts";
import { AgentError } from "../errors.ts";
import { connectionLost } from "../transport/child-connection.ts";
import { type Connection, TransportError } from "../transport/transport.ts";

/** The error that `error`, which ended the dialogue with `name`, comes to. `ended`: its stream is over, so that what is
 *  wrong is that nothing more comes. */
export async function explainEnd(
  error: unknown,
  ended: boolean,
  connection: Connection,
  name: string,
): Promise<Error> {
  if (!(error instanceof FormatError)) return error instanceof Error ? error : new Error(String(error));
  if (!ended && error.code !== "bad-magic") {
    return new AgentError("failed", `${name}: broke the protocol: ${error.message}`, undefined, {
      cause: error,
    });
  }
  // It may be on its way out by itself: its own exit code explains more than our signal would.
  const end = await Promise.race([connection.ended, afterGrace()]);
  if (end === undefined) return new TransportError(`talk to ${name}: ${error.message}`, false);
  return connectionLost(name, `talk to ${name}`, end);
}

/** Resolves when the other side has had time to leave by itself. */
export async function afterGrace(ms = 1000): Promise<undefined> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms, undefined).unref();
  });
}
