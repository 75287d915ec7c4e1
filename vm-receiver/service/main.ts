// Entry of the receiver: SERVICE [--settings FILE], on descriptors 0 and 1. What goes to stderr is short and holds nothing
// that came over the wire: in a VM it ends up in a log.

import { admit } from "./admission.ts";
import { serveConnection } from "./connection.ts";
import { type Invocation, parseInvocation, UsageError } from "./invocation.ts";
import { readFrom, writeTo } from "./streams.ts";

const signals = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

function invocation(): Invocation | undefined {
  try {
    return parseInvocation(process.argv.slice(2), process.env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`sparsebak receiver: error: ${error.message}\n`);
    return undefined;
  }
}

async function main(): Promise<number> {
  process.stderr.on("error", () => {});
  const invoked = invocation();
  if (invoked === undefined) return 2;
  const { service } = invoked;
  const log = (line: string): void => {
    process.stderr.write(`${service}: ${line}\n`);
  };
  process.umask(0o077);
  const admission = admit(invoked);
  let lost = (): void => {};
  const output = writeTo(1, () => lost());
  const connection = serveConnection({ service, admission, output, log });
  lost = connection.lost;
  for (const [signal, number] of Object.entries(signals)) {
    process.on(signal, () => connection.stop(128 + number));
  }
  process.on("uncaughtException", () => {
    log("internal error");
    process.exit(1);
  });
  readFrom(0, { onBytes: connection.take, onEnd: connection.lost });
  return connection.finished;
}

try {
  process.exit(await main());
} catch (error) {
  const badStream = error instanceof Error && "code" in error && error.code === "ERR_INVALID_FD_TYPE";
  const message = badStream ? "standard input and output must be pipes or sockets" : String(error);
  process.stderr.write(`sparsebak receiver: error: ${message}\n`);
  process.exit(badStream ? 2 : 1);
}
