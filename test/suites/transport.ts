// What every Transport has to do, whatever it is made of: the cases of transport/. The other side is a program that the harness
// installs as the service `sparsebak.Send`; everything here is real processes and real pipes.

import { describe } from "vitest";
import { dataCases } from "./transport/data-cases.ts";
import { endingCases } from "./transport/ending-cases.ts";
import type { TransportHarness } from "./transport/harness.ts";

export function transportSuite(name: string, makeHarness: () => Promise<TransportHarness>): void {
  describe(`transport conformance: ${name}`, () => {
    dataCases(makeHarness);
    endingCases(makeHarness);
  });
}
