// Bytes come through as they are, in both directions, without gathering anywhere.

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { maxNoiseBytes } from "../../../protocol/wire/frame.ts";
import { frameModule, open, type TransportHarness } from "./harness.ts";
import { until } from "./processes.ts";
import { framesOf, patterned, readAll } from "./reading.ts";

export function dataCases(makeHarness: () => Promise<TransportHarness>): void {
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

  test("exit codes come through", async () => {
    await using harness = await makeHarness();
    for (const code of [0, 1, 7, 99]) {
      await using connection = await open(harness, `process.exit(${code});`);
      expect((await readAll(connection)).length).toBe(0);
      expect((await connection.ended).exitCode).toBe(code);
    }
  });
}
