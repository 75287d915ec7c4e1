// Writes the golden vectors: `node test/protocol/vectors/make.ts`. A test holds the files to what this makes.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { agentCases } from "./agent-cases.ts";
import { archiveCases, prefixCases } from "./archive-cases.ts";
import { deadCases } from "./dead-cases.ts";
import { derivedCases } from "./derived-cases.ts";
import { headCases } from "./head-cases.ts";
import { indexCases } from "./index-cases.ts";
import { type Case, render } from "./layout.ts";
import { listCases } from "./list-cases.ts";
import { manifestCases } from "./manifest-cases.ts";
import { offsetsCases } from "./offsets-cases.ts";
import { receiverCases } from "./receiver-cases.ts";
import { sessionCases } from "./session-cases.ts";
import { framingCases, preambleCases } from "./stream-cases.ts";

export const vectorsDirectory: string = fileURLToPath(new URL("../../../protocol/vectors", import.meta.url));

export const allCases: readonly Case[] = [
  ...preambleCases,
  ...framingCases,
  ...agentCases,
  ...receiverCases,
  ...prefixCases,
  ...archiveCases,
  ...headCases,
  ...deadCases,
  ...indexCases,
  ...sessionCases,
  ...manifestCases,
  ...listCases,
  ...offsetsCases,
  ...derivedCases,
];

if (import.meta.main) {
  for (const folder of new Set(allCases.map((each) => dirname(each.file)))) {
    rmSync(join(vectorsDirectory, folder), { recursive: true, force: true });
    mkdirSync(join(vectorsDirectory, folder), { recursive: true });
  }
  for (const each of allCases) writeFileSync(join(vectorsDirectory, `${each.file}.txt`), render(each));
  console.log(`${allCases.length} vectors`);
}
