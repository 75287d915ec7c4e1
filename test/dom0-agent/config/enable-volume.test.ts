// `add` changes one line of the settings and leaves the rest as people wrote it.

import { expect, test } from "vitest";
import { enableVolume } from "../../../dom0-agent/config/enable-volume.ts";
import { parseSettings } from "../../../dom0-agent/config/settings.ts";

const head = "; mine\n[var]\nlocalpath = /images\ndestvm = none\ndestmountpoint = /mnt\n";

test("a new volume stands behind the others, before what follows", () => {
  const text = `${head}\n[volumes]\n; important\nwork.img = enable ; daily\n\n[archive usb]\ndestvm = none\ndestmountpoint = /usb\n`;
  expect(enableVolume(text, "new.img")).toBe(text.replace("; daily\n", "; daily\nnew.img = enable\n"));
});

test("a disabled one is enabled where it stands, its comment kept", () => {
  const text = `${head}[volumes]\nwork.img=disable ; not yet\nother.img = disable\n`;
  expect(enableVolume(text, "work.img")).toBe(text.replace("work.img=disable", "work.img=enable"));
  expect(enableVolume(enableVolume(text, "work.img"), "work.img")).toBe(enableVolume(text, "work.img"));
});

test("without a section one is made, at the end", () => {
  const made = enableVolume(head, "deep/er disk.img");
  expect(made.startsWith(head)).toBe(true);
  expect([...parseSettings(made, "", "").volumes]).toEqual([["deep/er disk.img", true]]);
});

test("a name that an ini file can't hold is refused, and says so", () => {
  for (const name of ["a=b", ";x", "#x"])
    expect(() => enableVolume(head, name), name).toThrow(/can't be written/);
});
