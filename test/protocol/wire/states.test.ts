// Who may say what when (docs/protocol.md, "States"): every pair of state and message against the document's table.

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { FormatError } from "../../../protocol/errors.ts";
import { type MessageName, messages, type Service, services } from "../../../protocol/wire/messages.ts";
import { dialogue, type Dialogue, type State, transitions } from "../../../protocol/wire/states.ts";

const states = Object.keys(transitions) as State[];
const names = Object.keys(messages) as MessageName[];

/** What leads to each state: messages and their ids. */
const paths: Readonly<Record<State, readonly (readonly [MessageName, number])[]>> = {
  start: [],
  greeting: [["agentHello", 1]],
  ready: [
    ["agentHello", 1],
    ["receiverHello", 1],
  ],
  reading: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["readMeta", 2],
  ],
  readingChunks: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["readChunks", 2],
  ],
  scrubbing: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["scrub", 2],
  ],
  listing: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["listPending", 2],
  ],
  waiting: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["discard", 2],
  ],
  putting: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["put", 2],
  ],
  beginning: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["beginSession", 2],
  ],
  session: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["beginSession", 2],
    ["done", 2],
  ],
  sessionPutting: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["beginSession", 2],
    ["done", 2],
    ["put", 3],
  ],
  ending: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["beginSession", 2],
    ["done", 2],
    ["endSession", 2],
  ],
  committing: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["commit", 2],
  ],
  assembling: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["assemble", 2],
  ],
  closed: [
    ["agentHello", 1],
    ["receiverHello", 1],
    ["goodbye", 2],
  ],
};
const opening: ReadonlySet<MessageName> = new Set<MessageName>([
  "agentHello",
  "readMeta",
  "readChunks",
  "scrub",
  "listPending",
  "salvage",
  "discard",
  "sweep",
  "reveal",
  "put",
  "beginSession",
  "commit",
  "assemble",
  "goodbye",
]);

function at(state: State, service?: Service): Dialogue {
  const order = dialogue(service);
  for (const [message, id] of paths[state]) order.step(message, id);
  expect(order.state).toBe(state);
  return order;
}
const lastId = (state: State): number => Math.max(0, ...paths[state].map(([, id]) => id));
/** The id that a message has to carry in a state. */
function rightId(state: State, message: MessageName): number {
  if (opening.has(message)) return lastId(state) + 1;
  return message === "checkpoint" && state === "sessionPutting" ? 2 : lastId(state);
}

/** The table of docs/protocol.md: `| state | message | next |`. */
function documented(): ReadonlyMap<string, string> {
  const text = readFileSync(new URL("../../../docs/protocol.md", import.meta.url), "utf8");
  const rows = [...text.matchAll(/^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|$/gm)];
  return new Map(rows.map(([, state, message, next]) => [`${state} ${message}`, next!]));
}

describe("P14: what the table does not list is refused", () => {
  const table = documented();

  test.each(states)("%s", (state) => {
    for (const message of names) {
      const closes = message === "aborted" && state !== "start" && state !== "closed";
      const wanted = closes ? "closed" : table.get(`${state} ${message}`);
      expect(transitions[state][message], `${message} in ${state}, code against document`).toBe(
        closes ? undefined : wanted,
      );
      const order = at(state);
      const step = (): void => order.step(message, rightId(state, message));
      if (wanted === undefined) {
        expect(step, `${message} in ${state}`).toThrow(expect.objectContaining({ code: "bad-order" }));
        expect(order.state).toBe(state);
      } else {
        step();
        expect(order.state, `${message} in ${state}`).toBe(wanted);
      }
    }
  });

  test("the document lists nothing else", () => {
    const coded = states.flatMap((state) =>
      Object.keys(transitions[state]).map((message) => `${state} ${message}`),
    );
    expect([...table.keys()].sort()).toEqual(coded.sort());
  });
});

describe("P15: requests count up, answers repeat their number", () => {
  test.each(states)("%s: another id is refused", (state) => {
    for (const message of Object.keys(transitions[state]) as MessageName[]) {
      const right = rightId(state, message);
      // While a put is under way in a session, progress may still be the session's.
      const alsoRight = message === "progress" && state === "sessionPutting" ? 2 : right;
      for (const id of [0, 1, right - 1, right + 1, right + 2, 0xffff_ffff]) {
        if (id === right || id === alsoRight) continue;
        const order = at(state);
        expect(() => order.step(message, id), `${message} ${id} in ${state}`).toThrow(FormatError);
        expect(order.state).toBe(state);
      }
    }
  });

  test("a refused request uses up its number", () => {
    const order = at("committing");
    order.step("refused", 2);
    expect(() => order.step("readMeta", 2)).toThrow(FormatError);
    order.step("readMeta", 3);
    order.step("data", 3);
    order.step("done", 3);
    order.step("goodbye", 4);
    expect(order.state).toBe("closed");
  });
});

describe("P16: a session's frames carry its number, whatever comes between", () => {
  test("chunks, puts, crossing progress, the end", () => {
    const order = at("session");
    const steps: readonly (readonly [MessageName, number, State])[] = [
      ["chunk", 2, "session"],
      ["progress", 2, "session"],
      ["put", 3, "sessionPutting"],
      ["part", 3, "sessionPutting"],
      ["progress", 2, "sessionPutting"],
      ["progress", 3, "sessionPutting"],
      ["checkpoint", 2, "sessionPutting"],
      ["done", 3, "session"],
      ["chunk", 2, "session"],
      ["put", 4, "sessionPutting"],
      ["done", 4, "session"],
      ["endSession", 2, "ending"],
      ["checkpoint", 2, "ending"],
      ["done", 2, "ready"],
      ["commit", 5, "committing"],
      ["committed", 5, "ready"],
      ["beginSession", 6, "beginning"],
      ["done", 6, "session"],
      ["chunk", 6, "session"],
    ];
    for (const [message, id, next] of steps) {
      order.step(message, id);
      expect(order.state).toBe(next);
    }
    expect(() => order.step("chunk", 2)).toThrow(FormatError);
  });
});

describe("P17: aborted closes, from every state but the first and the last", () => {
  test.each(states)("%s", (state) => {
    const order = at(state);
    if (state === "start" || state === "closed") {
      expect(() => order.step("aborted", 1)).toThrow(FormatError);
      return;
    }
    order.step("aborted", 12_345);
    expect(order.state).toBe("closed");
    for (const message of names) expect(() => order.step(message, 99)).toThrow(FormatError);
  });
});

describe("P13: one power a service", () => {
  /** What docs/protocol.md grants: rows `| sparsebak.X | message, message |`. */
  const granted = (service: Service): readonly string[] => {
    const text = readFileSync(new URL("../../../docs/protocol.md", import.meta.url), "utf8");
    const row = new RegExp(`^\\| \`${service}\` \\| ([^|]+) \\|`, "m").exec(text);
    return [...(row?.[1] ?? "").matchAll(/`(\w+)`/g)].map(([, name]) => name!);
  };

  test.each(Object.keys(services) as Service[])("%s", (service) => {
    const agents = names.filter((name) => messages[name].from === "agent");
    const allowed = agents.filter((name) => {
      const row = messages[name].services;
      return row === "all" || row.includes(service);
    });
    expect(allowed.filter((name) => messages[name].services !== "all").sort()).toEqual(
      [...granted(service)].sort(),
    );
    for (const state of states) {
      for (const message of agents) {
        if (!(message in transitions[state])) continue;
        let order: Dialogue;
        try {
          order = at(state, service);
        } catch (error) {
          // This service has no way into that state.
          expect(error).toBeInstanceOf(FormatError);
          continue;
        }
        const step = (): void => order.step(message, rightId(state, message));
        if (allowed.includes(message)) step();
        else expect(step, `${message} to ${service}`).toThrow(expect.objectContaining({ code: "bad-order" }));
      }
    }
  });

  test("only Send takes chunks, only Send and Prune commit, and nobody replaces or reads through another power", () => {
    const may = (message: MessageName): readonly string[] => messages[message].services as readonly string[];
    expect(may("chunk")).toEqual(["sparsebak.Send"]);
    expect(may("beginSession")).toEqual(["sparsebak.Send"]);
    expect([...may("commit")].sort()).toEqual(["sparsebak.Prune", "sparsebak.Send"]);
    expect(may("assemble")).toEqual(["sparsebak.Assemble"]);
  });
});
