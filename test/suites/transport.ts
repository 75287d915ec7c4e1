// What every Transport has to do, whatever it is made of. The other side is a program that the harness installs as the
// service `sparsebak.Send`; everything here is real processes and real pipes.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { stallWatch } from "../../dom0-agent/transport/watch.ts";
import { type Connection, type Transport, TransportError } from "../../dom0-agent/transport/transport.ts";
import { encodeFrame, encodePreamble, frameDecoder, maxNoiseBytes } from "../../protocol/wire/frame.ts";
import { concatBytes } from "../../protocol/bytes.ts";

export interface TransportHarness extends AsyncDisposable {
  readonly transport: Transport;
  /** Makes `program`, the text of a JavaScript module, the service. */
  serve(program: string): void;
  /** Makes a login shell print `text` before the service says anything; where there is no such shell, absent. */
  readonly loginNoise?: (text: string) => void;
  /** A directory for what the service writes down, empty at first. */
  readonly notes: string;
  /** A text that the command line of every process holds that the transport or the service consists of. */
  readonly mark: string;
}

const service = "sparsebak.Send";
const never: AbortSignal = new AbortController().signal;
const frameModule = pathToFileURL(join(import.meta.dirname, "../../protocol/wire/frame.ts")).href;

/** What services begin with. */
const prelude = `
import { createHash } from "node:crypto";
import { closeSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { once } from "node:events";
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** Writes a note so that it is there whole or not at all. */
const note = (path, text) => { writeFileSync(path + ".new", text); renameSync(path + ".new", path); };
const say = async (bytes) => { if (!process.stdout.write(bytes)) await once(process.stdout, "drain"); };
const digestOf = async (stream) => {
  const hash = createHash("sha256");
  for await (const bytes of stream) hash.update(bytes);
  return hash.digest("hex");
};
`;

/** A service that never reads, and ends when nobody is left to hear it. */
const deaf = `process.stdout.on("error", () => process.exit(1)); setInterval(() => process.stdout.write("."), 50);`;

export function transportSuite(name: string, makeHarness: () => Promise<TransportHarness>): void {
  const open = async (harness: TransportHarness, program: string): Promise<Connection> => {
    harness.serve(prelude + program);
    return harness.transport.open(service, never);
  };

  describe(`transport conformance: ${name}`, () => {
    test("carries 32 MiB up and down at once, unchanged", async () => {
      await using harness = await makeHarness();
      await using connection = await open(harness, `process.stdin.pipe(process.stdout);`);
      const sent = createHash("sha256");
      const send = async (): Promise<void> => {
        for (let i = 0; i < 256; i++) {
          const bytes = patterned(128 * 1024 + i, i);
          sent.update(bytes);
          await connection.write(bytes);
        }
        await connection.end();
      };
      const [received] = await Promise.all([readAll(connection), send()]);
      expect(createHash("sha256").update(received).digest("hex")).toBe(sent.digest("hex"));
      expect(await connection.ended).toMatchObject({ exitCode: 0, stderr: "", unreachable: false });
    });

    test("our end leaves the other direction open", async () => {
      await using harness = await makeHarness();
      await using connection = await open(
        harness,
        `const digest = await digestOf(process.stdin); await sleep(50); await say(digest);`,
      );
      await connection.write(patterned(300_000, 1));
      await connection.end();
      const digest = createHash("sha256").update(patterned(300_000, 1)).digest("hex");
      expect((await readAll(connection)).toString()).toBe(digest);
    });

    test("the receiver's end leaves our direction open", async () => {
      await using harness = await makeHarness();
      const noted = join(harness.notes, "digest");
      await using connection = await open(
        harness,
        // stderr as well: sshd passes the end of stdout on only once both are closed.
        `writeSync(1, "bye"); closeSync(1); closeSync(2); note(${JSON.stringify(noted)}, await digestOf(process.stdin));`,
      );
      expect((await readAll(connection)).toString()).toBe("bye");
      await connection.write(patterned(700_000, 2));
      await connection.end();
      expect((await connection.ended).exitCode).toBe(0);
      const digest = createHash("sha256").update(patterned(700_000, 2)).digest("hex");
      expect(readFileSync(noted, "utf8")).toBe(digest);
    });

    test("a shell's noise before the preamble is skipped, up to its bound", async () => {
      await using harness = await makeHarness();
      const program = (noise: number): string => `
        import { encodeFrame, encodePreamble } from ${JSON.stringify(frameModule)};
        await say(Buffer.alloc(${noise}, "\\u001b[2Jlast login\\n\\0"));
        await say(encodePreamble());
        await say(encodeFrame("done", 1, { bytes: 7 }));`;
      const profile = "\u001b[1mWelcome\u001b[0m\n";
      harness.loginNoise?.(profile);
      const room = maxNoiseBytes - (harness.loginNoise === undefined ? 0 : profile.length);
      await using connection = await open(harness, program(room));
      expect(await framesOf(connection)).toEqual([{ type: "done", id: 1, body: { bytes: 7 } }]);
      await using noisy = await open(harness, program(room + 1));
      await expect(framesOf(noisy)).rejects.toMatchObject({ code: "bad-magic" });
    });

    test(
      "a receiver killed at any byte is never taken for a whole answer",
      { timeout: 180_000 },
      async () => {
        await using harness = await makeHarness();
        const dialogue = concatBytes([
          encodePreamble(),
          encodeFrame("refused", 1, { code: "stale", reason: "" }),
        ]);
        const script = (length: number): string => `
        writeSync(1, Buffer.from("${Buffer.from(dialogue).toString("hex")}", "hex").subarray(0, ${length}));
        process.kill(process.pid, "SIGKILL");`;
        for (let length = 0; length <= dialogue.length; length++) {
          await using connection = await open(harness, script(length));
          const outcome = framesOf(connection);
          if (length === dialogue.length) {
            expect(await outcome).toEqual([{ type: "refused", id: 1, body: { code: "stale", reason: "" } }]);
          } else if (length === encodePreamble().length) {
            expect(await outcome).toEqual([]);
          } else {
            await expect(outcome, `cut at ${length}`).rejects.toMatchObject({ code: "truncated" });
          }
          const end = await connection.ended;
          expect(end.exitCode, `cut at ${length}`).not.toBe(0);
        }
      },
    );

    test("when we are cut off, the receiver sees a prefix of what was said and a clean end", async () => {
      await using harness = await makeHarness();
      const said = patterned(600_000, 3);
      for (const length of [0, 1, 4095, 65_536, 65_537, 262_144, 599_999]) {
        const noted = join(harness.notes, `heard-${length}`);
        await using connection = await open(
          harness,
          `const heard = [];
          process.on("SIGTERM", () => {});
          process.on("SIGHUP", () => {});
          process.stdin.on("data", (bytes) => heard.push(bytes));
          process.stdin.on("end", () => note(${JSON.stringify(noted)}, Buffer.concat(heard)));
          await say("ready");`,
        );
        for await (const _ready of connection.incoming) break;
        await connection.write(said.subarray(0, length));
        connection.abort();
        await until(() => existsSync(noted));
        const heard = readFileSync(noted);
        expect(heard.length).toBeLessThanOrEqual(length);
        expect(heard.equals(said.subarray(0, heard.length))).toBe(true);
      }
    });

    test("when the receiver dies in mid-upload, writing fails and says how it ended", async () => {
      await using harness = await makeHarness();
      await using connection = await open(
        harness,
        `process.stdin.once("data", () => { writeSync(2, "disk on fire\\n"); process.exit(3); });`,
      );
      const error = await failureOf(writeForEver(connection));
      expect(error).toBeInstanceOf(TransportError);
      expect((error as Error).message).toContain("disk on fire");
      expect((await connection.ended).exitCode).toBe(3);
      await expect(connection.write(new Uint8Array(1))).rejects.toBeInstanceOf(TransportError);
    });

    test("100 MB of control characters on stderr block nothing, stay out of memory and come out escaped", async () => {
      await using harness = await makeHarness();
      await using connection = await open(
        harness,
        `const junk = Buffer.alloc(1 << 20, Buffer.from("\\u001b]0;owned\\u0007\\r\\n\\u009b2J\\u202e\\xff", "latin1"));
        for (let i = 0; i < 100; i++) if (!process.stderr.write(junk)) await once(process.stderr, "drain");
        await say(await digestOf(process.stdin));`,
      );
      let largest = 0;
      const sample = setInterval(() => (largest = Math.max(largest, process.memoryUsage().arrayBuffers)), 5);
      const before = process.memoryUsage().arrayBuffers;
      await connection.write(patterned(5_000_000, 4));
      await connection.end();
      const digest = createHash("sha256").update(patterned(5_000_000, 4)).digest("hex");
      expect((await readAll(connection)).toString()).toBe(digest);
      clearInterval(sample);
      const { stderr } = await connection.ended;
      expect(stderr).toContain(String.raw`\x1b]0;owned\x07`);
      expect(stderr).toMatch(/^[ -~…]*$/);
      expect(stderr.length).toBeLessThan(4 * 4096 + 2);
      expect(largest - before).toBeLessThan(64 * 1024 * 1024);
    });

    test("a receiver that stops reading is given up on, and says so", async () => {
      await using harness = await makeHarness();
      await using connection = await open(harness, deaf);
      using watch = stallWatch({
        seconds: 1,
        what: harness.transport.name,
        onStall: (error) => connection.abort(error),
      });
      let taken = 0;
      const send = async (): Promise<void> => {
        for (;;) {
          await watch.waitFor(connection.write(patterned(128 * 1024, 5)));
          watch.progress(++taken);
        }
      };
      const error = await failureOf(send());
      expect(error).toBeInstanceOf(TransportError);
      expect((error as Error).message).toBe(`${harness.transport.name}: no progress for 1 s`);
      await connection.ended;
    });

    test("heartbeats that repeat the same number are no progress", async () => {
      await using harness = await makeHarness();
      await using connection = await open(
        harness,
        `import { encodeFrame, encodePreamble } from ${JSON.stringify(frameModule)};
        await say(encodePreamble());
        process.stdout.on("error", () => process.exit(1));
        for (let i = 0; ; i++) {
          await say(encodeFrame("progress", 1, { bytes: Math.min(i, 20), chunks: 0 }));
          await sleep(10);
        }`,
      );
      const decoder = frameDecoder("receiver", maxNoiseBytes);
      let highest = -1;
      const listen = async (): Promise<void> => {
        const chunks = connection.incoming[Symbol.asyncIterator]();
        // However long it takes to start.
        let next = await chunks.next();
        using watch = stallWatch({
          seconds: 1,
          what: "the receiver",
          onStall: (error) => connection.abort(error),
        });
        for (; next.done !== true; next = await watch.waitFor(chunks.next())) {
          for (const frame of decoder.push(next.value)) {
            if (frame.type !== "progress") throw new Error("not a heartbeat");
            highest = frame.body.bytes;
            watch.progress(highest);
          }
        }
        throw new Error("the stream ended");
      };
      await expect(listen()).rejects.toThrow("the receiver: no progress for 1 s");
      expect(highest).toBe(20);
    });

    test("what nobody reads stays with the receiver", async () => {
      await using harness = await makeHarness();
      const noted = join(harness.notes, "count");
      await using connection = await open(
        harness,
        `process.stdout.on("error", () => process.exit(1));
        for (let i = 1; ; i++) { await say(Buffer.alloc(65536, i)); note(${JSON.stringify(noted)}, String(i)); }`,
      );
      const count = (): number => (existsSync(noted) ? Number(readFileSync(noted, "utf8")) : 0);
      let last = -1;
      await until(async () => {
        const before = last;
        last = count();
        await new Promise((resolve) => setTimeout(resolve, 300));
        return last > 0 && last === before;
      });
      expect(last * 65_536).toBeLessThan(8 * 1024 * 1024);
      // And it is all there once it is asked for, in order.
      let at = 0;
      for await (const bytes of connection.incoming) {
        for (const byte of bytes)
          if (byte !== (Math.floor(at++ / 65_536) + 1) % 256) throw new Error(`at ${at}`);
        if (at > 16 * 1024 * 1024) break;
      }
    });

    test("a buffer may be used again once it is flushed", async () => {
      await using harness = await makeHarness();
      await using connection = await open(
        harness,
        `const hash = createHash("sha256");
        for await (const bytes of process.stdin) { hash.update(bytes); if (bytes.length > 60000) await sleep(1); }
        await say(hash.digest("hex"));`,
      );
      const expected = createHash("sha256");
      const buffer = new Uint8Array(512 * 1024);
      for (let round = 0; round < 40; round++) {
        buffer.set(patterned(buffer.length, round));
        expected.update(buffer);
        // In several writes, which wait for one another and may go out by one writev.
        for (let at = 0; at < buffer.length; at += 100_000)
          await connection.write(buffer.subarray(at, at + 100_000));
        await connection.flushed();
        buffer.fill(0xee);
      }
      await connection.end();
      expect((await readAll(connection)).toString()).toBe(expected.digest("hex"));
    });

    test("an abort frees a write that is blocked, and nothing is left behind", async () => {
      await using harness = await makeHarness();
      const connection = await open(harness, deaf);
      const blocked = failureOf(writeForEver(connection));
      const reading = failureOf(readAll(connection));
      await new Promise((resolve) => setTimeout(resolve, 300));
      const reason = new Error("the user pressed Ctrl-C");
      connection.abort(reason);
      expect(await blocked).toBe(reason);
      expect(await reading).toBe(reason);
      await connection[Symbol.asyncDispose]();
      await expect(connection.write(new Uint8Array(1))).rejects.toBe(reason);
      await expect(connection.end()).rejects.toBe(reason);
      await untilGone(harness);
    });

    test("leaving its scope ends the child, and lets the receiver end", async () => {
      await using harness = await makeHarness();
      {
        await using connection = await open(
          harness,
          `process.on("SIGTERM", () => {}); process.stdin.on("end", () => process.exit(0)).resume(); await say("up");`,
        );
        for await (const _up of connection.incoming) break;
      }
      await untilGone(harness);
    });

    test("the signal ends a connection, or keeps it from being made", async () => {
      await using harness = await makeHarness();
      harness.serve(
        `${prelude} await say("up"); setInterval(() => {}, 1000); process.stdin.on("end", () => process.exit(0)).resume();`,
      );
      const controller = new AbortController();
      await using connection = await harness.transport.open(service, controller.signal);
      const chunks = connection.incoming[Symbol.asyncIterator]();
      expect((await chunks.next()).done).toBe(false);
      const reason = new Error("stop now");
      controller.abort(reason);
      await expect(chunks.next()).rejects.toBe(reason);
      await connection.ended;
      await expect(harness.transport.open(service, controller.signal)).rejects.toBe(reason);
      await untilGone(harness);
    });

    test("exit codes come through", async () => {
      await using harness = await makeHarness();
      for (const code of [0, 1, 7, 99]) {
        await using connection = await open(harness, `process.exit(${code});`);
        expect((await readAll(connection)).length).toBe(0);
        expect((await connection.ended).exitCode).toBe(code);
      }
    });
  });
}

/** Bytes that differ from place to place and from seed to seed. */
export function patterned(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0, state = seed + 1; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

export async function readAll(connection: Connection): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const bytes of connection.incoming) parts.push(Buffer.from(bytes));
  return Buffer.concat(parts);
}

async function framesOf(connection: Connection): Promise<unknown[]> {
  const decoder = frameDecoder("receiver", maxNoiseBytes);
  const frames: unknown[] = [];
  for await (const bytes of connection.incoming) for (const frame of decoder.push(bytes)) frames.push(frame);
  decoder.end();
  return frames;
}

async function writeForEver(connection: Connection): Promise<never> {
  const bytes = patterned(128 * 1024, 6);
  for (;;) await connection.write(bytes);
}

export async function failureOf(step: Promise<unknown>): Promise<unknown> {
  return step.then(
    () => {
      throw new Error("it did not fail");
    },
    (error: unknown) => error,
  );
}

/** Waits for something that has to come; the test's own time limit says when it has not. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Command lines of the processes that hold `text`. */
export function running(text: string): string[] {
  return processes("cmdline")
    .map((line) => line.replaceAll("\0", " "))
    .filter((line) => line.includes(text));
}

/** Children of ours that have ended and that nobody has waited for. */
function zombies(): string[] {
  return processes("stat").filter((line) => line.includes(`) Z ${process.pid} `));
}

function processes(file: string): string[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/${file}`, "utf8");
      } catch {
        return ""; // it has ended
      }
    });
}

async function untilGone(harness: TransportHarness): Promise<void> {
  await until(() => running(harness.mark).length === 0 && zombies().length === 0);
}
