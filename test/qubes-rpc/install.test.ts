import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseSettings } from "../../dom0-agent/config/settings.ts";
import { defaultSettings, parseReceiverSettings } from "../../vm-receiver/config/settings.ts";
import { files, installLab, type InstallLab, ownPolicy, qubesRpc } from "./installer.ts";

const rules = (lab: InstallLab): string[] =>
  files(lab).filter((line) => !/\/(rules\.d|man\d|systemd)\//.test(line));

/** A copy of qubes-rpc/ in which a test may break things. */
function copyOfSource(): { readonly path: string; [Symbol.dispose](): void } {
  const directory = mkdtempSync(join(tmpdir(), "qubes-rpc-"));
  cpSync(qubesRpc, join(directory, "qubes-rpc"), { recursive: true });
  return {
    path: join(directory, "qubes-rpc"),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}

describe("what is installed", () => {
  test("dom0", () => {
    using lab = installLab();
    expect(lab.install("dom0").status).toBe(0);
    expect(rules(lab)).toEqual([
      "644 /etc/qubes/policy.d/60-sparsebak.policy",
      "644 /etc/sparsebak/sparsebak.ini",
      "/usr/bin/sparsebak -> ../lib/sparsebak/bin/sparsebak",
      "/usr/bin/spbk-assemble -> ../lib/sparsebak/bin/spbk-assemble",
      "755 /usr/lib/sparsebak/bin/sparsebak",
      "755 /usr/lib/sparsebak/bin/spbk-assemble",
      "644 /usr/lib/sparsebak/installed.dom0",
      "644 /usr/lib/sparsebak/lib/open-worker.mjs",
      "644 /usr/lib/sparsebak/lib/receiver.mjs",
      "644 /usr/lib/sparsebak/lib/restore-worker.mjs",
      "644 /usr/lib/sparsebak/lib/seal-worker.mjs",
      "644 /usr/lib/sparsebak/lib/sparsebak-chunk.mjs",
      "644 /usr/lib/sparsebak/lib/sparsebak-later.mjs",
      "644 /usr/lib/sparsebak/lib/sparsebak.mjs",
      "644 /usr/lib/sparsebak/lib/spbk-assemble-chunk.mjs",
      "644 /usr/lib/sparsebak/lib/spbk-assemble-later.mjs",
      "644 /usr/lib/sparsebak/lib/spbk-assemble.mjs",
    ]);
    expect(lab.tree()).toContain("700 /var/lib/sparsebak/");
  });

  test("timers, which are off, and in order for systemd", () => {
    using lab = installLab();
    lab.install("dom0");
    expect(files(lab).filter((line) => line.includes("systemd"))).toEqual(
      ["monitor.service", "monitor.timer", "send.service", "send.timer"].map(
        (each) => `644 /usr/lib/systemd/system/sparsebak-${each}`,
      ),
    );
    const units = ["monitor", "send"].flatMap((each) =>
      [".service", ".timer"].map((kind) => join(lab.root, `usr/lib/systemd/system/sparsebak-${each}${kind}`)),
    );
    // It looks for the programs where they will be.
    for (const unit of units) {
      const text = readFileSync(unit, "utf8");
      writeFileSync(unit, text.replace("ExecStart=/", `ExecStart=${lab.root}/`));
    }
    const verified = spawnSync("systemd-analyze", ["verify", "--man=no", ...units], { encoding: "utf8" });
    const said = verified.stderr.split("\n").filter((line) => line.includes("sparsebak"));
    expect(said).toEqual([]);
    expect(verified.error).toBeUndefined();
  });

  test("an app VM keeps it below /usr/local and /rw", () => {
    using lab = installLab();
    expect(lab.install("vm", "--app-vm").status).toBe(0);
    const services = ["Assemble", "Prune", "Receive", "Send"].map((name) => `sparsebak.${name}`);
    expect(files(lab).filter((line) => !line.includes("/man/"))).toEqual([
      "644 /rw/config/sparsebak/receiver.ini",
      "/usr/local/bin/spbk-assemble -> ../lib/sparsebak/bin/spbk-assemble",
      ...services.map((name) => `644 /usr/local/etc/qubes/rpc-config/${name}`),
      ...services.map((name) => `755 /usr/local/etc/qubes-rpc/${name}`),
      ...services.map((name) => `755 /usr/local/lib/sparsebak/bin/${name}`),
      "755 /usr/local/lib/sparsebak/bin/spbk-assemble",
      "644 /usr/local/lib/sparsebak/installed.vm",
      "644 /usr/local/lib/sparsebak/lib/open-worker.mjs",
      "644 /usr/local/lib/sparsebak/lib/receiver.mjs",
      "644 /usr/local/lib/sparsebak/lib/spbk-assemble-chunk.mjs",
      "644 /usr/local/lib/sparsebak/lib/spbk-assemble-later.mjs",
      "644 /usr/local/lib/sparsebak/lib/spbk-assemble.mjs",
    ]);
    expect(parseReceiverSettings(lab.read("/rw/config/sparsebak/receiver.ini"), "receiver.ini")).toEqual(
      defaultSettings,
    );
  });

  test("a template's services stay off until a qube is told", () => {
    using lab = installLab();
    expect(lab.install("vm", "--template").status).toBe(0);
    expect(files(lab)).toContain("755 /etc/qubes-rpc/sparsebak.Send");
    expect(files(lab)).toContain("755 /usr/lib/sparsebak/bin/sparsebak.Send");
    const settings = parseReceiverSettings(lab.read("/etc/sparsebak/receiver.ini"), "receiver.ini");
    expect(settings).toEqual({ ...defaultSettings, requireServiceFlag: true });
  });

  test("a template's services don't come before the settings that keep them off", () => {
    using lab = installLab();
    // The install breaks off there.
    lab.write("/etc/sparsebak", "a file of somebody's own\n");
    expect(lab.install("vm", "--template").status).not.toBe(0);
    expect(files(lab).filter((line) => line.includes("qubes-rpc/sparsebak."))).toEqual([]);
  });

  test("an ssh server gets no qrexec files, and is told what to put into authorized_keys", () => {
    using lab = installLab();
    const { status, stdout } = lab.install("ssh-server");
    expect(status).toBe(0);
    expect(files(lab).filter((line) => line.includes("qubes"))).toEqual([]);
    expect(stdout).toContain('restrict,command="/usr/lib/sparsebak/bin/sparsebak.Send" ssh-ed25519');
    expect(parseReceiverSettings(lab.read("/etc/sparsebak/receiver.ini"), "receiver.ini")).toEqual(
      defaultSettings,
    );
  });

  test("no rpc-config lets a caller become root or wait for a session", () => {
    using lab = installLab();
    lab.install("vm", "--app-vm");
    for (const name of ["Send", "Receive", "Prune", "Assemble"]) {
      expect(lab.read(`/usr/local/etc/qubes/rpc-config/sparsebak.${name}`)).toBe("wait-for-session=false\n");
    }
  });

  test("the example settings of dom0 name nothing, so that nothing happens before they are edited", () => {
    using lab = installLab();
    lab.install("dom0");
    const example = lab.read("/etc/sparsebak/sparsebak.ini");
    expect(() => parseSettings(example, "sparsebak.ini", "/var/lib/sparsebak")).toThrow(/vgname/);
    const [, lvm = ""] = /((?:;vgname|;poolname)[\s\S]*)/.exec(example) ?? [];
    const edited = `[var]\n${lvm.replaceAll(/^;(?=[a-z]+(-[a-z]+)* =)(?!localpath)/gm, "")}`;
    const settings = parseSettings(edited, "sparsebak.ini", "/var/lib/sparsebak");
    expect(settings.archives).toMatchObject([
      { destvm: "backup", mountpoint: "/mnt/volume", directory: "backups" },
    ]);
    expect([...settings.volumes]).toEqual([["vm-work-private", true]]);
  });
});

describe("the policy", () => {
  test("a bad one is refused before anything is changed, and the old one stays", () => {
    using source = copyOfSource();
    using lab = installLab(undefined, join(source.path, "install"));
    lab.install("dom0");
    const before = lab.tree();
    const old = lab.read(ownPolicy);
    const file = join(source.path, "policy/60-sparsebak.policy");
    for (const bad of [
      "sparsebak.Send * * * denied\n",
      "sparsebak.Send * * *\n",
      "# nothing\n",
      `${old}x`,
      "",
    ]) {
      writeFileSync(file, bad);
      writeFileSync(join(lab.dist, "lib", "sparsebak.mjs"), "// a new version\n");
      const { status, stderr } = lab.install("dom0");
      expect(status).toBe(1);
      expect(stderr).toContain("nothing was changed");
      expect(lab.read(ownPolicy)).toBe(old);
      expect(lab.read("/usr/lib/sparsebak/lib/sparsebak.mjs")).toBe("// sparsebak\n");
      expect(lab.tree()).toEqual(before);
    }
  });

  test("what Qubes' own checkers refuse is refused", () => {
    using lab = installLab();
    const tool = (name: string, text: string): void =>
      writeFileSync(join(lab.tools, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    tool("qubes-policy-lint", 'echo "$1:1: error: no" ; exit 1');
    expect(lab.install("dom0")).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("qubes-policy-lint refuses"),
    });
    expect(lab.tree()).toEqual([]);
    tool("qubes-policy-lint", "exit 0");
    lab.write("/etc/qubes/policy.d/90-default.policy", "* * * * deny\n");
    tool("qrexec-policy-graph", '[ "$1" = --policy-dir ] && ! [ -e "$2/60-sparsebak.policy" ]');
    expect(lab.install("dom0").stderr).toContain("qrexec-policy-graph refuses");
    tool("qrexec-policy-graph", '[ "$1" = --policy-dir ] && [ -e "$2/90-default.policy" ]');
    expect(lab.install("dom0").status).toBe(0);
    expect(lab.read(ownPolicy)).toContain("sparsebak.Send");
  });

  test("an own one is replaced by a newer version in one step, with nothing left beside it", () => {
    using source = copyOfSource();
    using lab = installLab(undefined, join(source.path, "install"));
    lab.install("dom0");
    writeFileSync(join(source.path, "policy/60-sparsebak.policy"), "sparsebak.Send * * * deny\n");
    expect(lab.install("dom0").stdout).toContain(`install ${ownPolicy}`);
    expect(lab.read(ownPolicy)).toBe("sparsebak.Send * * * deny\n");
    expect(files(lab).filter((line) => line.includes("/etc/qubes"))).toEqual([`644 ${ownPolicy}`]);
  });
});

describe("what stops an install", () => {
  test("no built programs, with what to run", () => {
    using lab = installLab();
    rmSync(join(lab.dist, "bin", "sparsebak"));
    const { status, stderr } = lab.install("dom0");
    expect(status).toBe(1);
    expect(stderr).toContain("./run build");
    expect(lab.tree()).toEqual([]);
  });

  test("a Node.js that is too old, or none", () => {
    using lab = installLab();
    // Without DESTDIR, and so only as a dry run.
    const dry = (version: string): string => {
      const node = join(lab.root, "fake-node");
      lab.write("/fake-node", `#!/bin/sh\necho ${version}\n`, 0o755);
      mkdirSync(join(lab.root, "usr/lib/sparsebak/lib"), { recursive: true });
      cpSync(node, join(lab.root, "usr/lib/sparsebak/lib/node"));
      return lab.install("ssh-server").stderr;
    };
    for (const old of ["v20.19.2", "v22.9.0", "v22.14.9", "v18.0.0", "v9.1.0", "none"]) {
      expect(dry(old), old).toContain(`is version ${old}, wanted 22.15 or later`);
    }
    for (const good of ["v22.15.0", "v22.21.1", "v23.0.0", "v24.11.0", "v26.10.0", "v30.1.0", "v100.0.0"]) {
      expect(dry(good), good).toBe("");
    }
  });

  test("words that are not understood", () => {
    using lab = installLab();
    expect(lab.install().status).toBe(2);
    expect(lab.install("dom1").status).toBe(2);
    expect(lab.install("vm").stderr).toContain("--template or --app-vm");
    expect(lab.install("dom0", "vm").status).toBe(1);
    expect(lab.install("dom0", "--app-vm").stderr).toContain("only for vm");
    expect(lab.install("vm", "--app-vm", "--template").status).toBe(1);
    expect(lab.tree()).toEqual([]);
  });

  test("the kind of qube is asked of qubesdb where it is not said", () => {
    using lab = installLab();
    // qubesdb-read answers only for the qube that it runs in, so this is a dry run without DESTDIR.
    const kind = (persistence: string): string => {
      writeFileSync(join(lab.tools, "qubesdb-read"), `#!/bin/sh\necho ${persistence}\n`, { mode: 0o755 });
      writeFileSync(join(lab.tools, "node"), "#!/bin/sh\necho v22.21.0\n", { mode: 0o755 });
      const { stdout, stderr } = spawnSync(
        join(qubesRpc, "install"),
        ["vm", "--uninstall", "--dry-run", "--dist", lab.dist],
        { env: { PATH: `${lab.tools}:/usr/bin:/bin` }, encoding: "utf8" },
      );
      return stdout + stderr;
    };
    expect(existsSync("/usr/lib/sparsebak/installed.vm")).toBe(false);
    expect(kind("full")).toContain("no /usr/lib/sparsebak/installed.vm");
    expect(kind("rw-only")).toContain("no /usr/local/lib/sparsebak/installed.vm");
    expect(kind("none")).toContain("disposable");
    expect(kind("whatever")).toContain("--template or --app-vm");
  });
});
