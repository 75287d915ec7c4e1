import { expect, test } from "vitest";
import { transportFor } from "../../../dom0-agent/transport/index.ts";
import { TransportError } from "../../../dom0-agent/transport/transport.ts";

const options = { startVm: true, local: { receiver: "/usr/lib/sparsebak/lib/receiver.mjs" } } as const;

test("the form of destvm chooses the transport", () => {
  expect(transportFor("none", options).name).toBe("this machine");
  expect(transportFor("backup", options).name).toBe("VM backup");
  expect(transportFor("ssh://me@nas.local:2222", options).name).toBe("ssh me@nas.local");
});

test("what is none of them is refused, with what was wanted", () => {
  const wrong = [
    "",
    "dom0",
    "@adminvm",
    "my vm",
    "ssh://nas",
    "ssh://-x@nas",
    "rsync://me@nas",
    "qubes://backup",
    "a".repeat(32),
  ];
  for (const destvm of wrong) {
    expect(() => transportFor(destvm, options), destvm).toThrow(TransportError);
    expect(() => transportFor(destvm, options), destvm).toThrow(/^destvm: found «/);
  }
});
