// How the receiver was started and by whom. qrexec says in the environment which qube calls; without that the caller is
// a parent process of our own user, or ssh, which may name a settings file.

import { type Service, services } from "../../protocol/wire/messages.ts";
import { shown } from "../sanitize.ts";

export type Caller = { readonly kind: "local" } | { readonly kind: "qube"; readonly name: string };

export interface Invocation {
  readonly service: Service;
  readonly caller: Caller;
  readonly settingsFile: string | undefined;
}

/** The command line or the environment is not as it must be. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}

/** Reads arguments (behind the program's name) and environment. Throws UsageError. */
export function parseInvocation(args: readonly string[], environment: NodeJS.ProcessEnv): Invocation {
  const [name = "", ...rest] = args;
  const service = (Object.keys(services) as Service[]).find((each) => each === name);
  if (service === undefined) {
    throw new UsageError(`found service «${shown(name)}», wanted one of ${Object.keys(services).join(", ")}`);
  }
  const caller = callerFrom(environment);
  if (caller.kind === "qube") {
    const argument = environment["QREXEC_SERVICE_ARGUMENT"] ?? "";
    const inName = (environment["QREXEC_SERVICE_FULL_NAME"] ?? "").split("+").slice(1).join("+");
    if (rest.length > 0 || argument !== "" || inName !== "")
      throw new UsageError(`${service} takes no argument`);
    return { service, caller, settingsFile: undefined };
  }
  const [option, file, ...more] = rest;
  if (option === undefined) return { service, caller, settingsFile: undefined };
  if (option !== "--settings" || file === undefined || file === "" || more.length > 0) {
    throw new UsageError(`usage: ${service} [--settings FILE]`);
  }
  return { service, caller, settingsFile: file };
}

function callerFrom(environment: NodeJS.ProcessEnv): Caller {
  const qube = environment["QREXEC_REMOTE_DOMAIN"];
  const called = qube !== undefined || environment["QREXEC_SERVICE_FULL_NAME"] !== undefined;
  return called ? { kind: "qube", name: qube ?? "" } : { kind: "local" };
}
