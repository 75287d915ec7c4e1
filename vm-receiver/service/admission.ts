// Whether this call is served at all: settings that can be read, a caller that they name, a service that is on. Decided
// before a byte is read; said once the other side has said hello.

import { existsSync } from "node:fs";
import { loadReceiverSettings, type ReceiverSettings, SettingsError } from "../config/settings.ts";
import { RefusalError } from "../errors.ts";
import type { Caller, Invocation } from "./invocation.ts";

export type Admission =
  | { readonly admitted: true; readonly settings: ReceiverSettings }
  | { readonly admitted: false; readonly refusal: RefusalError; readonly exitCode: number };

export const serviceFlag = "/run/qubes-service/sparsebak";

/** Decides on a call. `searched` are the settings files that are looked for when none is named. */
export function admit(
  invocation: Invocation,
  searched?: readonly string[],
  flag: string = serviceFlag,
): Admission {
  const { service, caller } = invocation;
  const refuse = (message: string, exitCode = 1): Admission => {
    return { admitted: false, refusal: new RefusalError("not-allowed", message), exitCode };
  };
  let settings: ReceiverSettings;
  try {
    settings = loadReceiverSettings(invocation.settingsFile, searched);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    // Only who may call without any settings hears what is wrong with them.
    const trusted = caller.kind === "local" || caller.name === "dom0";
    return refuse(
      trusted ? `the receiver's settings: ${error.message}` : "the receiver's settings are broken",
      2,
    );
  }
  if (!isAllowed(caller, settings)) return refuse("the receiver's settings don't allow this caller");
  if (!settings.services.includes(service))
    return refuse(`${service} is switched off in the receiver's settings`);
  if (settings.requireServiceFlag && !existsSync(flag)) {
    return refuse("services are off in this qube: switch on the Qubes service «sparsebak» for it");
  }
  return { admitted: true, settings };
}

function isAllowed(caller: Caller, settings: ReceiverSettings): boolean {
  return caller.kind === "local" || settings.allowCallers.includes(caller.name);
}
