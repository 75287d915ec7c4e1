// The table of messages against docs/protocol.md, and the numbers that no one may use twice.

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  metaKinds,
  messageByCode,
  type MessageName,
  messages,
  refusals,
  services,
} from "../../../protocol/wire/messages.ts";

const document = readFileSync(new URL("../../../docs/protocol.md", import.meta.url), "utf8");
const names = Object.keys(messages) as MessageName[];

describe("protocol.md, Messages", () => {
  test("lists every message with its code, speaker and bound", () => {
    const rows = [...document.matchAll(/^\| (\d+) \| `(\w+)` \| (agent|receiver) \| (\d+) \|$/gm)];
    expect(rows.map(([, code, name, from, max]) => [name, Number(code), from, Number(max)])).toEqual(
      names.map((name) => [name, messages[name].code, messages[name].from, messages[name].max]),
    );
  });

  test("lists every refusal with its code", () => {
    const rows = [...document.matchAll(/^\| (\d+) \| ([a-z-]+) \| /gm)];
    expect(Object.fromEntries(rows.map(([, code, name]) => [name, Number(code)]))).toEqual(refusals);
  });
});

describe("numbers", () => {
  test("no code has two meanings", () => {
    for (const codes of [
      names.map((name) => messages[name].code),
      Object.values(refusals),
      Object.values(services),
      Object.values(metaKinds),
    ]) {
      expect(new Set<number>(codes).size).toBe(codes.length);
    }
  });

  test("a code leads to its message, any other number to none", () => {
    for (let code = 0; code < 300; code++) {
      const name = messageByCode(code);
      expect(name).toBe(names.find((each) => messages[each].code === code));
    }
    expect(messageByCode(-1)).toBeUndefined();
    expect(messageByCode(Number.NaN)).toBeUndefined();
  });
});
