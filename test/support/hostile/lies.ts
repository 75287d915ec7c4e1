// Every lie that a receiver can tell, by name. What each must come to is in the tests.

import { greetingLies } from "./lies-greeting.ts";
import { readingLies } from "./lies-reading.ts";
import { restoringLies } from "./lies-restoring.ts";
import { sendingLies } from "./lies-sending.ts";
import { substitutingLies } from "./lies-substituting.ts";
import type { Lie } from "./stage.ts";

export const lies: Readonly<Record<string, Lie>> = {
  ...greetingLies,
  ...readingLies,
  ...sendingLies,
  ...restoringLies,
  ...substitutingLies,
};
