// Who is served, as a user finds out: real processes, started the way that qrexec, ssh and a parent start them.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { admit } from "../../../vm-receiver/service/admission.ts";
import { parseInvocation } from "../../../vm-receiver/service/invocation.ts";
import { type AgentClient, developmentNode, noUuid, startReceiver } from "../../support/agent-client.ts";
import { builtReceiver } from "../../support/built-receiver.ts";
import { receiverSite } from "../site.ts";

async function refusalOf(
  client: AgentClient,
  mountpoint: string,
): Promise<{ code: string; reason: string; exitCode: number | null }> {
  await client.send("agentHello", { service: "sparsebak.Send", mountpoint, directory: "", archive: noUuid });
  const { code, reason } = await client.expect("refused");
  return { code, reason, exitCode: (await client.ended).exitCode };
}

describe("over qrexec", () => {
  const qrexec = { QREXEC_REMOTE_DOMAIN: "dom0", QREXEC_SERVICE_FULL_NAME: "sparsebak.Send" };

  test("dom0 is served, but only a real mountpoint", async () => {
    using site = receiverSite();
    await using client = startReceiver("sparsebak.Send", { environment: qrexec });
    expect(await refusalOf(client, site.mountpoint)).toMatchObject({ code: "not-mounted", exitCode: 1 });
    expect(readdirSync(site.mountpoint)).toEqual([]);
  });

  test("another qube is not", async () => {
    await using client = startReceiver("sparsebak.Send", {
      environment: { ...qrexec, QREXEC_REMOTE_DOMAIN: "untrusted" },
    });
    expect(await refusalOf(client, "/proc")).toMatchObject({ code: "not-allowed", exitCode: 1 });
  });

  test.each([
    ["an argument on the command line", {}, ["x"]],
    ["a settings file", {}, ["--settings", "/tmp/receiver.ini"]],
    ["an argument of qrexec", { QREXEC_SERVICE_ARGUMENT: "x" }, []],
    ["an argument in the full name", { QREXEC_SERVICE_FULL_NAME: "sparsebak.Send+x" }, []],
  ])("%s is refused", async (_name, environment, args) => {
    await using client = startReceiver("sparsebak.Send", {
      environment: { ...qrexec, ...environment },
      args,
    });
    const end = await client.ended;
    expect(end.exitCode).toBe(2);
    expect(end.stderr).toContain("takes no argument");
  });

  test("an empty argument is none", () => {
    const environment = {
      ...qrexec,
      QREXEC_SERVICE_ARGUMENT: "",
      QREXEC_SERVICE_FULL_NAME: "sparsebak.Send+",
    };
    expect(parseInvocation(["sparsebak.Send"], environment)).toMatchObject({
      caller: { kind: "qube", name: "dom0" },
    });
  });

  test("without a caller's name nobody is let in", () => {
    const environment = { QREXEC_SERVICE_FULL_NAME: "sparsebak.Send" };
    expect(admit(parseInvocation(["sparsebak.Send"], environment), [])).toMatchObject({ admitted: false });
  });
});

describe("settings", () => {
  test("that are broken open nothing up, and are said to be", async () => {
    using site = receiverSite();
    writeFileSync(
      site.settings,
      `[receiver]\nplain-directories = ${site.mountpoint}\nallow-everyone = yes\n`,
    );
    await using client = site.start();
    const refusal = await refusalOf(client, site.mountpoint);
    expect(refusal).toMatchObject({ code: "not-allowed", exitCode: 2 });
    expect(refusal.reason).toContain("unknown key «allow-everyone»");
    expect(readdirSync(site.mountpoint)).toEqual([]);
  });

  test("that are broken are no news for a stranger", () => {
    using site = receiverSite();
    writeFileSync(site.settings, "[receiver]\nsecret-key = 1\n");
    const invocation = {
      service: "sparsebak.Send",
      caller: { kind: "qube", name: "x" },
      settingsFile: undefined,
    } as const;
    const answer = admit(invocation, [site.settings]);
    expect(answer).toMatchObject({ admitted: false, exitCode: 2 });
    expect(answer.admitted || answer.refusal.message).not.toContain("secret");
  });

  test("name callers, services, and whether the qube must have been told", () => {
    using site = receiverSite();
    const call = (name: string, service = "sparsebak.Send"): unknown => {
      const invocation = parseInvocation([service], { QREXEC_REMOTE_DOMAIN: name });
      return admit(invocation, [site.settings], join(site.path, "flag")).admitted;
    };
    writeFileSync(site.settings, "[receiver]\nallow-callers = backup-admin\nservices = sparsebak.Send\n");
    expect([call("backup-admin"), call("dom0"), call("backup-admin", "sparsebak.Receive")]).toEqual([
      true,
      false,
      false,
    ]);
    writeFileSync(site.settings, "[receiver]\nrequire-service-flag = yes\n");
    expect(call("dom0")).toBe(false);
    writeFileSync(join(site.path, "flag"), "");
    expect(call("dom0")).toBe(true);
  });

  test("name the mountpoints, and no other is served", async () => {
    using site = receiverSite();
    writeFileSync(site.settings, "[receiver]\nmountpoints = /mnt/backup\n");
    await using client = site.start();
    expect(await refusalOf(client, "/proc")).toMatchObject({ code: "not-allowed" });
  });

  test("a plain directory is that directory, and not a link to it or a place below", async () => {
    using site = receiverSite();
    const link = join(site.path, "link");
    symlinkSync(site.mountpoint, link);
    writeFileSync(site.settings, `[receiver]\nplain-directories = ${link}, ${site.mountpoint}\n`);
    {
      await using client = site.start();
      expect(await refusalOf(client, link)).toMatchObject({ code: "not-mounted" });
    }
    await using client = site.start();
    expect(await refusalOf(client, site.path)).toMatchObject({ code: "not-mounted" });
  });
});

describe("the command line", () => {
  const run = (...args: string[]) =>
    spawnSync(developmentNode, [builtReceiver(), ...args], { encoding: "utf8" });

  test("names a service that there is", () => {
    const { status, stderr } = run("sparsebak.Everything");
    expect(status).toBe(2);
    expect(stderr).toMatch(
      /^sparsebak receiver: error: found service «sparsebak.Everything», wanted one of .*\n$/,
    );
    expect(run().status).toBe(2);
    expect(run("sparsebak.Send", "--settings").status).toBe(2);
    expect(run("sparsebak.Send", "--verbose").status).toBe(2);
  });

  test("a stream that is a file is refused", () => {
    const { status, stderr } = spawnSync(developmentNode, [builtReceiver(), "sparsebak.Send"], {
      stdio: ["ignore", "pipe", "pipe"],
      encoding: "utf8",
    });
    expect(status).toBe(2);
    expect(stderr).toContain("must be pipes or sockets");
  });
});

test("the mountpoint that a stranger asks for is escaped where it is shown", async () => {
  await using client = startReceiver("sparsebak.Send");
  const { reason } = await refusalOf(client, "/nonexistent/\u202egnp\u{2028}x");
  expect(reason).toContain("/nonexistent/\\u{202e}gnp\\u{2028}x");
  expect(existsSync("/nonexistent")).toBe(false);
});
