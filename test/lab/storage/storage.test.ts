// The LVM storage on real thin volumes, in two guests: the storage suite and what only LVM has; and what udev does.

import { describeGuestCases } from "../guest-cases.ts";
import { projectRoot } from "../lab.ts";
import { storageLabCases } from "./all-cases.ts";
import { udevCases } from "./udev-cases.ts";

const names = (cases: readonly { readonly name: string }[]): readonly string[] =>
  cases.map(({ name }) => name);

describeGuestCases("LVM thin", names(storageLabCases()), {
  program: "test/lab/storage/main.ts",
  timeoutSeconds: 1500,
});

describeGuestCases("LVM thin with udev", names(udevCases()), {
  program: "test/lab/storage/udev-main.ts",
  udev: true,
  env: { LAB_PROJECT: projectRoot },
  timeoutSeconds: 600,
});
