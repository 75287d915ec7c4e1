// A case with a pool of its own to work on.

import type { Case } from "../cases.ts";

/** Makes cases that get what `make` makes and dispose of it at the end. */
export function caseMaker<Lab extends AsyncDisposable>(
  make: () => Lab | Promise<Lab>,
): (name: string, run: (lab: Lab) => Promise<void>) => Case {
  return (name, run) => ({
    name,
    run: async () => {
      await using lab = await make();
      await run(lab);
    },
  });
}
