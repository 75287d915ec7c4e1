// The format allows a million heads, and whoever may send can make them: an archive with very many still opens, for what
// prunes them above all.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openAbsolute } from "../../../vm-receiver/directory.ts";
import { RefusalError } from "../../../vm-receiver/errors.ts";
import { openArchive } from "../../../vm-receiver/store/archive.ts";
import { sourceArchive, randomImage, receiverSite } from "../site.ts";

test("the newest of 150 000 heads is found", { timeout: 60_000 }, () => {
  using site = receiverSite();
  const source = sourceArchive(site, [randomImage(2)]);
  const newest = 150_000;
  for (let i = 2; i <= newest; i++) writeFileSync(join(source.path, "heads", String(i)), "");
  using root = openAbsolute(source.path);
  // They are empty, so the newest is named as damaged.
  expect(() => openArchive(root)).toThrow(RefusalError);
  expect(() => openArchive(root)).toThrow(`head ${newest} is damaged`);
  using first = openArchive(root, source.generation);
  expect(first.generation).toBe(1);
});
