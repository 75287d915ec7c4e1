// Installing a second time, for trial, and taking it away again.

import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { files, installLab, type InstallLab, ownPolicy } from "./installer.ts";

describe("installing again", () => {
  test("changes nothing, and says only what it leaves alone", () => {
    for (const args of [["dom0"], ["vm", "--app-vm"], ["vm", "--template"], ["ssh-server"]]) {
      using lab = installLab();
      expect(lab.install(...args).status).toBe(0);
      const before = lab.tree();
      const manifest = before.find((line) => line.includes("/installed."))?.split(" ")[1] ?? "";
      const records = lab.read(manifest);
      const { status, stdout } = lab.install(...args);
      expect(status).toBe(0);
      expect(stdout.split("\n\n")[0]).toMatch(/^keep \S+\.ini\n?$/);
      expect(lab.tree()).toEqual(before);
      expect(lab.read(manifest)).toBe(records);
    }
  });

  test("repairs programs, keeps settings and a policy that the user has changed", () => {
    using lab = installLab();
    lab.install("dom0");
    lab.write("/usr/lib/sparsebak/lib/sparsebak.mjs", "// damaged\n", 0o600);
    lab.write("/etc/sparsebak/sparsebak.ini", "[var]\ndestvm = mine\n");
    lab.write(ownPolicy, "sparsebak.Send + work backup allow\n");
    const { status, stdout } = lab.install("dom0");
    expect(status).toBe(0);
    expect(lab.read("/usr/lib/sparsebak/lib/sparsebak.mjs")).toBe("// sparsebak\n");
    expect(lab.read("/usr/lib/sparsebak/lib/sparsebak.mjs.save")).toBe("// damaged\n");
    expect(stdout).toContain("keep /usr/lib/sparsebak/lib/sparsebak.mjs as");
    expect(lab.tree()).toContain("644 /usr/lib/sparsebak/lib/sparsebak.mjs");
    expect(lab.read("/etc/sparsebak/sparsebak.ini")).toContain("mine");
    expect(lab.read(ownPolicy)).toContain("work backup");
    expect(stdout).toContain(`keep ${ownPolicy}: it was changed`);
  });

  test("a service that was changed is put aside so that it is none, and not over one put aside before", () => {
    using lab = installLab();
    lab.install("vm", "--template");
    const service = "/etc/qubes-rpc/sparsebak.Send";
    const own = lab.read(service);
    lab.write(service, "#!/bin/sh\n", 0o755);
    expect(lab.install("vm", "--template").status).toBe(0);
    expect(lab.read(service)).toBe(own);
    expect(files(lab)).toEqual(expect.arrayContaining([`755 ${service}`, `644 ${service}.save`]));
    lab.write(service, "another\n", 0o755);
    const { status, stderr } = lab.install("vm", "--template");
    expect(status).toBe(1);
    expect(stderr).toContain(`there is a ${service}.save already`);
    expect(lab.read(service)).toBe("another\n");
  });

  test("a newer version takes the place of what any role has installed, and nothing is put aside", () => {
    using lab = installLab();
    lab.install("dom0");
    writeFileSync(join(lab.dist, "lib", "receiver.mjs"), "// newer\n");
    expect(lab.install("ssh-server").status).toBe(0);
    writeFileSync(join(lab.dist, "lib", "receiver.mjs"), "// newest\n");
    expect(lab.install("dom0").status).toBe(0);
    expect(lab.read("/usr/lib/sparsebak/lib/receiver.mjs")).toBe("// newest\n");
    expect(files(lab).filter((line) => line.endsWith(".save"))).toEqual([]);
  });

  test("what is there and is not on its list is neither replaced nor removed", () => {
    const link = "/usr/bin/spbk-assemble";
    const page = "/usr/share/man/man1/spbk-assemble.1";
    const strangers: readonly ((lab: InstallLab) => string)[] = [
      (lab) => {
        mkdirSync(join(lab.root, "usr/bin"), { recursive: true });
        symlinkSync("/opt/other/spbk-assemble", join(lab.root, link));
        return link;
      },
      (lab) => {
        lab.write(page, "another page");
        return page;
      },
    ];
    for (const put of strangers) {
      using lab = installLab();
      const path = put(lab);
      const before = lab.tree();
      const { status, stderr } = lab.install("ssh-server");
      expect(status).toBe(1);
      expect(stderr).toContain(`${path} is there, and is not ours`);
      expect(lab.install("ssh-server", "--uninstall").status).toBe(0);
      expect(lab.tree()).toEqual(before);
    }
  });

  test("removes what the new version no longer has", () => {
    using lab = installLab();
    lab.install("ssh-server");
    rmSync(join(lab.dist, "lib", "open-worker.mjs"));
    expect(lab.install("ssh-server").stdout).toContain("remove /usr/lib/sparsebak/lib/open-worker.mjs");
    expect(files(lab)).not.toContain("644 /usr/lib/sparsebak/lib/open-worker.mjs");
    expect(lab.install("ssh-server", "--uninstall").status).toBe(0);
    expect(lab.tree()).toEqual([]);
  });

  test("a template with receiver settings of its own that let every qube answer is warned of", () => {
    using lab = installLab();
    lab.write("/etc/sparsebak/receiver.ini", "[receiver]\n");
    expect(lab.install("vm", "--template").stderr).toContain("no require-service-flag = yes");
    expect(lab.read("/etc/sparsebak/receiver.ini")).toBe("[receiver]\n");
  });
});

describe("a dry run", () => {
  test("touches nothing, and says what an install then does", () => {
    for (const args of [["dom0"], ["vm", "--app-vm"], ["vm", "--template"], ["ssh-server"]]) {
      using lab = installLab();
      const dry = lab.install(...args, "--dry-run");
      expect(dry.status).toBe(0);
      expect(lab.tree()).toEqual([]);
      expect(dry.stdout.replaceAll(/^would /gm, "")).toBe(lab.install(...args).stdout);
      const before = lab.tree();
      expect(lab.install(...args, "--uninstall", "--dry-run").stdout).toContain("would remove /usr");
      expect(lab.tree()).toEqual(before);
    }
  });
});

describe("uninstalling", () => {
  test("leaves nothing of its own", () => {
    for (const args of [["dom0"], ["vm", "--app-vm"], ["vm", "--template"], ["ssh-server"]]) {
      using lab = installLab();
      lab.install(...args);
      lab.install(...args);
      expect(lab.install(...args, "--uninstall").status).toBe(0);
      expect(lab.tree()).toEqual([]);
      expect(lab.install(...args, "--uninstall")).toMatchObject({ status: 1 });
    }
  });

  test("keeps what was there before, what the user has changed, and all state", () => {
    using lab = installLab();
    lab.write("/usr/bin/other", "x");
    lab.write("/var/lib/sparsebak/key", "secret", 0o600);
    lab.install("dom0");
    lab.write("/etc/sparsebak/sparsebak.ini", "[var]\ndestvm = mine\n");
    lab.write("/usr/lib/sparsebak/lib/sparsebak.mjs", "// patched\n");
    const { status, stdout } = lab.install("dom0", "--uninstall");
    expect(status).toBe(0);
    expect(stdout).toContain("keep /usr/lib/sparsebak/lib/sparsebak.mjs: it was changed");
    expect(files(lab)).toEqual([
      "644 /etc/sparsebak/sparsebak.ini",
      "644 /usr/bin/other",
      "644 /usr/lib/sparsebak/lib/sparsebak.mjs",
      "600 /var/lib/sparsebak/key",
    ]);
  });

  test("of one role leaves the programs that another needs", () => {
    using lab = installLab();
    lab.install("dom0");
    lab.install("ssh-server");
    expect(lab.install("dom0", "--uninstall").status).toBe(0);
    expect(files(lab)).toContain("644 /usr/lib/sparsebak/lib/receiver.mjs");
    expect(files(lab)).not.toContain("644 /usr/lib/sparsebak/lib/sparsebak.mjs");
    expect(lab.install("ssh-server", "--uninstall").status).toBe(0);
    expect(lab.tree()).toEqual([]);
  });

  test("after an install that broke off, what it did is known", () => {
    using lab = installLab();
    lab.write("/usr/bin/spbk-assemble", "another program");
    const { status, stderr } = lab.install("ssh-server");
    expect(status).toBe(1);
    expect(stderr).toContain("/usr/bin/spbk-assemble is there, and is not ours");
    expect(lab.install("ssh-server", "--uninstall").status).toBe(0);
    expect(files(lab)).toEqual(["644 /usr/bin/spbk-assemble"]);
  });
});
