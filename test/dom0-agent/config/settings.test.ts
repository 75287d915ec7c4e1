import { describe, expect, test } from "vitest";
import { parseSettings } from "../../../dom0-agent/config/settings.ts";
import { AgentError } from "../../../dom0-agent/errors.ts";

const original = `
[var]
vgname = qubes_dom0
poolname = vm-pool
destvm = backup
destmountpoint = /mnt/volume
destdir = backups

[volumes]
vm-work-private = enable
vm-untrusted-private = disable
`;

function parse(text: string): ReturnType<typeof parseSettings> {
  return parseSettings(text, "/x/sparsebak.ini", "/x");
}

function hintOf(text: string): string {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof AgentError) return `${error.reason}: ${error.message}: ${error.hint ?? ""}`;
  }
  return "accepted";
}

describe("sparsebak.ini", () => {
  test("a file with the original's keys alone is enough (design section 3)", () => {
    const settings = parse(original);
    expect(settings.source).toEqual({ kind: "lvm", vg: "qubes_dom0", pool: "vm-pool" });
    expect(settings.archives).toMatchObject([
      {
        name: "default",
        destvm: "backup",
        mountpoint: "/mnt/volume",
        directory: "backups",
        chunkSize: 131_072,
      },
    ]);
    expect([...settings.volumes]).toEqual([
      ["vm-work-private", true],
      ["vm-untrusted-private", false],
    ]);
    expect(settings.stateDirectory).toBe("/x");
  });

  test("an unknown key or section names the nearest known one", () => {
    expect(hintOf(original.replace("destdir", "desdir"))).toMatch(/usage: .*«desdir».*«destdir»/s);
    expect(hintOf(original.replace("[volumes]", "[volume]"))).toMatch(/\[volumes\]/);
    expect(hintOf(`${original}\n[archive usb]\ndestvm = x\nvgname = y\n`)).toMatch(
      /unknown key «vgname» in \[archive usb\]/,
    );
  });

  test("a line that the ini package would read otherwise than it looks is refused, with its number", () => {
    const say = (from: string, to: string): string => hintOf(original.replace(from, to));
    expect(say("vm-untrusted-private = disable", "vm-work-private = disable")).toMatch(
      /usage: .*line 11: found «vm-work-private» once more in \[volumes\]/,
    );
    expect(say("vm-work-private = enable", "vm-work-private")).toMatch(
      /line 10: found «vm-work-private», wanted KEY = VALUE/,
    );
    expect(say("vm-work-private = enable", "vm-work-private[] = enable")).toMatch(
      /list «vm-work-private\[\]»/,
    );
    expect(say("[volumes]", "[volumes.x]")).toMatch(/line 9: found «\[volumes\.x\]»/);
    expect(say("[volumes]", "[volumes] ; all of them")).toMatch(/line 9: found «\[volumes\] ; all/);
    expect(hintOf(`\uFEFF${original.trimStart()}`)).toBe("accepted");
    expect(hintOf(original.replaceAll("\n", "\r\n"))).toBe("accepted");
    expect(say("vgname = qubes_dom0", "; old\n# vgname = x\nvgname = qubes_dom0 ; the group")).toBe(
      "accepted",
    );
  });

  test("a destination is checked when it is read, and slashes at the end mean nothing", () => {
    for (const bad of ["a b", "-x", "dom0", "ssh://-oProxyCommand=x", "ssh://u@host:99999", "http://x"])
      expect(hintOf(original.replace("= backup", `= ${bad}`)), bad).toMatch(/usage: .*destvm: found «/);
    const [archive] = parse(
      original.replace("/mnt/volume", "/mnt/volume/").replace("= backups", "= backups/"),
    ).archives;
    expect(archive).toMatchObject({ mountpoint: "/mnt/volume", directory: "backups" });
  });

  test("every value is checked, and the message has what was found", () => {
    expect(hintOf(original.replace("/mnt/volume", "mnt/volume"))).toMatch(
      /destmountpoint: found «mnt\/volume»/,
    );
    expect(hintOf(original.replace("/mnt/volume", "/mnt/../etc"))).toMatch(/without \. and \.\./);
    expect(hintOf(original.replace("backups", "../x"))).toMatch(/destdir: found «\.\.\/x»/);
    expect(hintOf(original.replace("= enable", "= on"))).toMatch(
      /vm-work-private: found «on», wanted enable or disable/,
    );
    expect(hintOf(original.replace("destdir", "encryption = maybe\ndestdir"))).toMatch(
      /encryption: found «maybe»/,
    );
    expect(hintOf(original.replace("destdir", "chunk-size = 100K\ndestdir"))).toMatch(
      /chunk-size: found «100K»/,
    );
    expect(hintOf(original.replace("destdir", "localpath = /x\ndestdir"))).toMatch(/exclude each other/);
    expect(hintOf("vgname = x\n")).toMatch(/outside of a section/);
    expect(hintOf(original.replace("vgname = qubes_dom0", "vgname = -x"))).toMatch(/vgname: found «-x»/);
    expect(hintOf("[volumes]\n../x = enable\n[var]\nlocalpath=/x\n")).toMatch(
      /can't be the name of a volume/,
    );
  });

  test("more destinations have sections of their own", () => {
    const settings = parse(
      `${original}\n[archive usb]\ndestvm = none\ndestmountpoint = /media/usb\nchunk-size = 1M\n`,
    );
    expect(settings.archives.map((each) => each.name)).toEqual(["default", "usb"]);
    expect(settings.archives[1]).toMatchObject({ destvm: "none", directory: "", chunkSize: 1_048_576 });
  });
});
