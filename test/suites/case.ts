// A suite's cases: plain functions with node:assert, because they also run where there is no vitest: in a guest.

/** One test. It passes unless it throws. */
export interface Case {
  readonly name: string;
  run(): Promise<void> | void;
}

export type AddCase<Harness> = (name: string, run: (harness: Harness) => Promise<void>) => Case;

/** Makes cases that get what `make` makes, each one of its own, and dispose of it at the end. */
export function caseMaker<Harness extends AsyncDisposable>(
  make: () => Harness | Promise<Harness>,
): AddCase<Harness> {
  return (name, run) => ({
    name,
    run: async () => {
      await using harness = await make();
      await run(harness);
    },
  });
}
