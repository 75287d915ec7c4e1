// What may be said when: one table, run by both ends, each for what it hears and for what it says. A frame that the
// table does not list is refused by the one and is a bug in the other.

import { FormatError } from "../errors.ts";
import { type MessageName, messages, type Service } from "./messages.ts";

export type State =
  | "start"
  | "greeting"
  | "ready"
  | "reading"
  | "listing"
  | "readingChunks"
  | "scrubbing"
  | "waiting"
  | "putting"
  | "beginning"
  | "session"
  | "sessionPutting"
  | "ending"
  | "committing"
  | "assembling"
  | "closed";

/** From a state, by message, to the next. `aborted` closes from every state but the first and is not repeated. */
export const transitions: { readonly [S in State]: { readonly [M in MessageName]?: State } } = {
  start: { agentHello: "greeting" },
  greeting: { receiverHello: "ready", refused: "closed" },
  ready: {
    readMeta: "reading",
    listPending: "listing",
    readChunks: "readingChunks",
    scrub: "scrubbing",
    salvage: "reading",
    discard: "waiting",
    sweep: "waiting",
    reveal: "waiting",
    put: "putting",
    beginSession: "beginning",
    commit: "committing",
    assemble: "assembling",
    goodbye: "closed",
  },
  reading: { data: "reading", progress: "reading", done: "ready", refused: "ready" },
  listing: { pending: "listing", done: "ready", refused: "ready" },
  readingChunks: { stored: "readingChunks", progress: "readingChunks", done: "ready", refused: "ready" },
  scrubbing: { damage: "scrubbing", progress: "scrubbing", done: "ready", refused: "ready" },
  waiting: { progress: "waiting", done: "ready", refused: "ready" },
  putting: { part: "putting", progress: "putting", done: "ready", refused: "ready" },
  beginning: { progress: "beginning", done: "session", refused: "ready" },
  session: {
    chunk: "session",
    put: "sessionPutting",
    endSession: "ending",
    progress: "session",
    checkpoint: "session",
  },
  sessionPutting: {
    part: "sessionPutting",
    progress: "sessionPutting",
    checkpoint: "sessionPutting",
    done: "session",
  },
  ending: { progress: "ending", checkpoint: "ending", done: "ready", refused: "ready" },
  committing: { progress: "committing", committed: "ready", refused: "ready" },
  assembling: { progress: "assembling", assembled: "ready", refused: "ready" },
  closed: {},
};

/** Messages that open a request: their ids count up. All others repeat the id of the open request. */
const openers: ReadonlySet<MessageName> = new Set<MessageName>([
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

export interface Dialogue {
  readonly state: State;
  /** Goes on to the next state; throws FormatError `bad-order` for what is not legal now, or not of this service, or
   *  carries another request's id. */
  step(message: MessageName, id: number): void;
}

/**
 * The dialogue from its start. Chunks and endSession carry the id of their beginSession, also when a put came in
 * between; parts carry the id of their put. `service` restricts what the agent may ask, once it is known.
 */
export function dialogue(service?: Service): Dialogue {
  let state: State = "start";
  let lastId = 0;
  let sessionId = 0;
  let requestId = 0;

  const refuse = (message: MessageName, why: string): never => {
    throw new FormatError("bad-order", `${message} in state ${state}: ${why}`);
  };

  return {
    get state() {
      return state;
    },
    step: (message, id) => {
      const row = messages[message];
      const next =
        message === "aborted" && state !== "start" && state !== "closed"
          ? "closed"
          : transitions[state][message];
      if (next === undefined) return refuse(message, "not allowed here");
      if (service !== undefined && row.services !== "all" && !row.services.includes(service)) {
        return refuse(message, `${service} does not accept it`);
      }
      if (openers.has(message)) {
        if (id !== lastId + 1) refuse(message, `found request ${id}, wanted ${lastId + 1}`);
        lastId = id;
        requestId = id;
        if (message === "beginSession") sessionId = id;
      } else if (message !== "aborted") {
        const inSession = state === "session" || message === "checkpoint";
        const wanted = inSession ? sessionId : requestId;
        // Progress of a session may cross a put on its way.
        const crossing = message === "progress" && state === "sessionPutting" && id === sessionId;
        if (id !== wanted && !crossing) refuse(message, `found request ${id}, wanted ${wanted}`);
      }
      if (message === "endSession") requestId = sessionId;
      state = next;
    },
  };
}
