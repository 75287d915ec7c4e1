// In the guest: what goes wrong below the command line on real thin volumes. For each the message, the exit status, and
// that nothing is lost: afterwards the next send works, every session is what the volume was, and nothing is left.

import { runCases } from "../cases.ts";
import { failureCases } from "./failure-cases.ts";

await runCases(failureCases());
