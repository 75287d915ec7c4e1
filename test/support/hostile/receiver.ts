// A receiver that lies. It starts the real one and stands between it and the agent: every frame of either side is decoded
// and goes on as it was, but for what the lie of the plan makes of it. Started in place of the real one, with the same
// arguments; the plan lies beside the program that was started.

import { spawn } from "node:child_process";
import { readFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { encodePreamble, frameDecoder } from "../../../protocol/wire/frame.ts";
import type { MessageName, Messages } from "../../../protocol/wire/messages.ts";
import { lies } from "./lies.ts";
import { bytesOf, type Lie, type Stage } from "./stage.ts";

export interface Plan {
  /** Its name in the table. */
  readonly lie: string;
  /** The archive's directory. */
  readonly archive: string;
  /** The program of the real receiver. */
  readonly receiver: string;
}

/** Frames that belong to a request that was made before. */
const belonging: ReadonlySet<MessageName> = new Set<MessageName>(["part", "chunk"]);

const program = process.argv[1] ?? "";
const plan = JSON.parse(readFileSync(join(dirname(program), "plan.json"), "utf8")) as Plan;
const lie: Lie | undefined = lies[plan.lie];
if (lie === undefined) throw new Error(`there is no lie «${plan.lie}»`);
const real = spawn(process.execPath, [plan.receiver, ...process.argv.slice(2)], {
  stdio: ["pipe", "pipe", "ignore"],
});
const heard = new Map<MessageName, number>();
/** Requests, without what belongs to them. */
const requests: { readonly type: MessageName; readonly body: unknown }[] = [];
let newest: MessageName | undefined;
let muted = false;

/** Blocks while the agent does not read. */
function toAgent(bytes: Uint8Array): void {
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(1, bytes, at);
  } catch {
    exit(1);
  }
}

function exit(code: number): never {
  real.kill("SIGKILL");
  process.exit(code);
}

const stage: Stage = {
  archive: plan.archive,
  heard,
  get newest() {
    return newest;
  },
  last: <Name extends MessageName>(type: Name) =>
    requests.findLast((each) => each.type === type)?.body as Messages[Name] | undefined,
  first: <Name extends MessageName>(type: Name, wanted: (body: Messages[Name]) => boolean) =>
    requests.find((each) => each.type === type && wanted(each.body as Messages[Name]))?.body as
      | Messages[Name]
      | undefined,
  say: (...bytes) => bytes.forEach(toAgent),
  flood: (bytes) => {
    muted = true;
    setImmediate(() => {
      for (const each of bytes) toAgent(each);
    });
  },
  mute: () => {
    muted = true;
    setInterval(() => {}, 1000);
  },
  print: (text) => writeSync(2, text),
  exit,
  every: (milliseconds, what) => setInterval(what, milliseconds),
};

real.stdin.on("error", () => {});
const fromAgent = frameDecoder("agent");
process.stdin.on("data", (bytes: Buffer) => {
  for (const frame of fromAgent.push(bytes)) {
    heard.set(frame.type, (heard.get(frame.type) ?? 0) + 1);
    if (!belonging.has(frame.type)) {
      newest = frame.type;
      requests.push({ type: frame.type, body: structuredClone(frame.body) });
    }
    for (const each of lie.request?.(frame, stage) ?? [frame]) real.stdin.write(bytesOf(each));
  }
});
process.stdin.on("end", () => real.stdin.end());
real.stdin.write(encodePreamble());

const fromReal = frameDecoder("receiver");
real.stdout.on("data", (bytes: Buffer) => {
  for (const frame of fromReal.push(bytes)) {
    if (muted) continue;
    for (const each of lie.answer?.(frame, stage) ?? [bytesOf(frame)]) toAgent(each);
  }
});
real.on("close", (code) => {
  if (!muted) process.exit(code ?? 1);
});
if (lie.start === undefined) toAgent(encodePreamble());
else lie.start(stage);
