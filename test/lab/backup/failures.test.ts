// What goes wrong on real thin volumes, through the command line, in one guest (failure-cases.ts).

import { describeGuestCases } from "../guest-cases.ts";
import { projectRoot } from "../lab.ts";
import { failureCases } from "./failure-cases.ts";

describeGuestCases(
  "the command line on thin volumes",
  failureCases().map(({ name }) => name),
  {
    program: "test/lab/backup/failures.ts",
    disks: ["1G", "512M", "8M"],
    env: { LAB_PROJECT: projectRoot },
    timeoutSeconds: 1500,
  },
);
