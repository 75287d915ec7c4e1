import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { localTransport } from "../../../dom0-agent/transport/local.ts";
import { transportSuite } from "../../suites/transport.ts";
import { type TransportHarness } from "../../suites/transport/harness.ts";
import { running, until } from "../../suites/transport/processes.ts";
import { readAll } from "../../suites/transport/reading.ts";

const never: AbortSignal = new AbortController().signal;

async function localHarness(): Promise<TransportHarness & { readonly directory: string }> {
  const directory = mkdtempSync(join(tmpdir(), "local-transport-"));
  const receiver = join(directory, "receiver.mjs") as `/${string}`;
  const notes = join(directory, "notes");
  mkdirSync(notes);
  return {
    transport: localTransport({ receiver }),
    serve: (program) => writeFileSync(receiver, program),
    notes,
    mark: directory,
    directory,
    [Symbol.asyncDispose]: async () => rmSync(directory, { recursive: true, force: true }),
  };
}

transportSuite("local child", localHarness);

test("the receiver gets the service, its settings, our Node and a small environment", async () => {
  await using harness = await localHarness();
  harness.serve(
    `console.log(JSON.stringify([process.argv.slice(2), process.execPath, Object.keys(process.env), process.execArgv]));`,
  );
  const receiver = join(harness.directory, "receiver.mjs") as `/${string}`;
  const settings = join(harness.directory, "receiver.ini");
  process.env["SECRET_OF_THE_CALLER"] = "1";
  await using connection = await localTransport({ receiver, settings }).open("sparsebak.Prune", never);
  const [args, node, environment, flags] = JSON.parse((await readAll(connection)).toString()) as string[][];
  expect(args).toEqual(["sparsebak.Prune", "--settings", settings]);
  expect(node).toBe(process.execPath);
  expect(flags).toContain("--disable-sigusr1");
  expect(environment).not.toContain("SECRET_OF_THE_CALLER");
  delete process.env["SECRET_OF_THE_CALLER"];
});

test("a receiver that is not there ends with what Node says", async () => {
  await using harness = await localHarness();
  await using connection = await harness.transport.open("sparsebak.Send", never);
  expect((await readAll(connection)).length).toBe(0);
  const end = await connection.ended;
  expect(end.exitCode).toBe(1);
  expect(end.stderr).toContain("receiver.mjs");
});

test("a receiver that ignores SIGTERM and the end of its input is killed, with what it started", async () => {
  await using harness = await localHarness();
  const child = join(harness.directory, "grandchild.mjs");
  writeFileSync(child, `process.on("SIGTERM", () => {}); setInterval(() => {}, 1000);`);
  harness.serve(`
    import { spawn } from "node:child_process";
    process.on("SIGTERM", () => {});
    setInterval(() => {}, 1000);
    spawn(process.execPath, [${JSON.stringify(child)}], { stdio: "inherit" }).on("spawn", () => console.log("up"));`);
  {
    await using connection = await harness.transport.open("sparsebak.Send", never);
    for await (const _up of connection.incoming) break;
    connection.abort();
    expect((await connection.ended).signal).toBe("SIGKILL");
  }
  await until(() => running(harness.mark).length === 0);
});

test("a helper that outlives the receiver does not keep the connection open", async () => {
  await using harness = await localHarness();
  const child = join(harness.directory, "helper.mjs");
  writeFileSync(child, `setInterval(() => {}, 1000);`);
  harness.serve(`
    import { spawn } from "node:child_process";
    spawn(process.execPath, [${JSON.stringify(child)}], { stdio: "inherit" }).on("spawn", () => process.exit(5));`);
  await using connection = await harness.transport.open("sparsebak.Send", never);
  expect((await readAll(connection)).length).toBe(0);
  expect((await connection.ended).exitCode).toBe(5);
  await until(() => running(harness.mark).length === 0);
});

test("an agent killed in mid-send leaves no receiver behind", async () => {
  await using harness = await localHarness();
  harness.serve(
    `import { writeFileSync } from "node:fs";
    let heard = 0;
    process.stdout.on("error", () => {});
    process.stdin.on("data", (bytes) => { heard += bytes.length; process.stdout.write("."); });
    process.stdin.on("end", () => writeFileSync(${JSON.stringify(join(harness.notes, "end"))}, String(heard)));`,
  );
  const agent = join(harness.directory, "agent.ts");
  const module = join(import.meta.dirname, "../../../dom0-agent/transport/local.ts");
  writeFileSync(
    agent,
    `import { localTransport } from ${JSON.stringify(module)};
    const transport = localTransport({ receiver: ${JSON.stringify(join(harness.directory, "receiver.mjs"))} });
    const connection = await transport.open("sparsebak.Send", new AbortController().signal);
    let said = 0;
    (async () => { for (;;) await connection.write(new Uint8Array(100_000)); })();
    for await (const dots of connection.incoming) if ((said += dots.length) > 20) process.kill(process.pid, "SIGKILL");`,
  );
  const receiver = join(harness.directory, "unused.mjs") as `/${string}`;
  writeFileSync(
    receiver,
    `import { spawnSync } from "node:child_process";
    process.exit(spawnSync(process.execPath, [${JSON.stringify(agent)}]).signal === "SIGKILL" ? 0 : 1);`,
  );
  // A child of ours starts the agent, so that no more than the agent is killed.
  await using connection = await localTransport({ receiver }).open("sparsebak.Send", never);
  expect((await connection.ended).exitCode).toBe(0);
  await until(() => running(join(harness.directory, "receiver.mjs")).length === 0);
  expect(Number(readFileSync(join(harness.notes, "end"), "utf8"))).toBeGreaterThan(0);
});
