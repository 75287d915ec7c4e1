// The policy file, its checker, and what both are worth, by the rules that qrexec's own parser follows.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { qrexecLab } from "../support/qrexec/lab.ts";
import { evaluatePolicy, parsePolicy } from "../support/qrexec/policy.ts";
import { qubesRpc, serviceNames } from "./installer.ts";

const own = readFileSync(join(qubesRpc, "policy/60-sparsebak.policy"), "utf8");

function check(
  text: string | Uint8Array,
  name = "60-test.policy",
): { status: number | null; stderr: string } {
  const directory = mkdtempSync(join(tmpdir(), "policy-"));
  try {
    const file = join(directory, name);
    writeFileSync(file, text);
    const { status, stderr } = spawnSync(join(qubesRpc, "check-policy"), [file], { encoding: "utf8" });
    return { status, stderr };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const good = [
  "sparsebak.Send * * * deny",
  "  sparsebak.Send\t*  @anyvm @anyvm   deny notify=no  ",
  "sparsebak.Send + work backup allow user=user autostart=no notify=yes",
  "example.Service +arg_1.2-3 admvm @default allow target=backup",
  "* * * * deny",
  "a-b_c.D +a+b @adminvm dom0 ask default_target=backup",
];

const bad = [
  "sparsebak.Send * * deny",
  "sparsebak.Send * * * denied",
  "sparsebak.Send * * * Deny",
  "sparsebak.Send+x * * * deny",
  "sparsebak.* * * * deny",
  "sparsebak.Send x * * deny",
  "sparsebak.Send +a/b * * deny",
  "* + * * deny",
  "sparsebak.Send * * * deny # closed",
  "sparsebak.Send * * * deny target=backup",
  "sparsebak.Send * * * deny notify=true",
  "sparsebak.Send * * * deny notify=no notify=no",
  "sparsebak.Send * @default * deny",
  "sparsebak.Send * @nobody * deny",
  "sparsebak.Send * * @default allow",
  "sparsebak.Send * * * allow usr=root",
  "!include other",
  "; a comment",
];

test("the checker takes good lines, and the parser takes what the checker takes", () => {
  for (const line of good) {
    expect(check(`# comment\n\n${line}\n`), line).toEqual({ status: 0, stderr: "" });
    expect(parsePolicy(`${line}\n`, "60-test.policy"), line).toHaveLength(1);
  }
});

test("the checker refuses each bad line and says where it is, as the parser does", () => {
  for (const line of bad) {
    const { status, stderr } = check(`${good.join("\n")}\n${line}\n`);
    expect(status, line).toBe(1);
    expect(stderr, line).toContain(`60-test.policy, line ${good.length + 1}: `);
    expect(() => parsePolicy(`${line}\n`, "x"), line).toThrow();
  }
});

test("the checker refuses files that could be cut off or hold bytes that qrexec can't read", () => {
  const whole = "sparsebak.Send * * * deny\n";
  expect(check(whole.slice(0, -1)).stderr).toContain("last line");
  expect(check("").stderr).toContain("empty");
  expect(check("# only a comment\n").stderr).toContain("no rule");
  expect(check(Buffer.from(`# caf\u00e9\n${whole}`, "latin1")).stderr).toContain("printable ASCII");
  expect(check(whole.replace("\n", "\r\n")).stderr).toContain("printable ASCII");
  expect(check(whole.replace(" ", "\u00a0")).stderr).toContain("printable ASCII");
});

test("the checker refuses file names that would deny every call", () => {
  for (const name of [
    "60-Test.policy",
    "60-te st.policy",
    "60-test.policy.new",
    "test.policy",
    "60-tést.policy",
    "6-t.policy",
  ]) {
    expect(check("sparsebak.Send * * * deny\n", name).status, name).toBe(1);
  }
});

test("our policy is good, and denies every service to every qube, and to dom0 as a target", () => {
  expect(check(own, "60-sparsebak.policy")).toEqual({ status: 0, stderr: "" });
  const directory = mkdtempSync(join(tmpdir(), "policy-"));
  try {
    writeFileSync(join(directory, "60-sparsebak.policy"), own);
    // What a careless package may have brought.
    writeFileSync(
      join(directory, "70-wide.policy"),
      "* * @anyvm @anyvm allow\n* * * * allow target=backup\n",
    );
    for (const service of serviceNames) {
      for (const argument of ["+", "+x"]) {
        for (const target of ["backup", "@default", "@adminvm", "@dispvm"]) {
          expect(evaluatePolicy(directory, { service, argument, source: "work", target }).action).toBe(
            "deny",
          );
        }
      }
    }
    const other = evaluatePolicy(directory, {
      service: "qubes.Other",
      argument: "+",
      source: "work",
      target: "backup",
    });
    expect(other.action).toBe("allow");
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("another qube that calls is refused, where a wide rule alone would have let it in", async () => {
  const wide = { "70-wide.policy": "* * @anyvm @anyvm allow\n" };
  const call = async (
    policy: Readonly<Record<string, string>>,
  ): Promise<{ status: number | null; output: string }> => {
    await using lab = qrexecLab({ vms: { work: "running", backup: "running" }, policy });
    lab.service("backup", "sparsebak.Send", "#!/bin/sh\necho reached by $QREXEC_REMOTE_DOMAIN\n");
    const { status, stdout, stderr } = spawnSync(lab.clientOf("work"), ["backup", "sparsebak.Send"], {
      encoding: "utf8",
    });
    return { status, output: stdout + stderr };
  };
  expect(await call(wide)).toEqual({ status: 0, output: "reached by work\n" });
  expect(await call({ ...wide, "60-sparsebak.policy": own })).toEqual({
    status: 126,
    output: "Request refused\n",
  });
  expect(await call({})).toMatchObject({ status: 126 });
});
