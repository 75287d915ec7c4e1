// However a connection ends, both sides see it, nobody waits for ever, and no process is left.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { stallWatch } from "../../../dom0-agent/transport/watch.ts";
import { TransportError } from "../../../dom0-agent/transport/transport.ts";
import { encodeFrame, encodePreamble, frameDecoder, maxNoiseBytes } from "../../../protocol/wire/frame.ts";
import { concatBytes } from "../../../protocol/bytes.ts";
import { deaf, frameModule, open, prelude, service, type TransportHarness } from "./harness.ts";
import { until, untilGone } from "./processes.ts";
import { failureOf, framesOf, patterned, readAll, writeForEver } from "./reading.ts";

export function endingCases(makeHarness: () => Promise<TransportHarness>): void {
  test("a receiver killed at any byte is never taken for a whole answer", { timeout: 180_000 }, async () => {
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
  });

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
}
