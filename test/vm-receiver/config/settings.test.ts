import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  defaultSettings,
  loadReceiverSettings,
  parseReceiverSettings,
  SettingsError,
} from "../../../vm-receiver/config/settings.ts";
import { tempDir } from "../../support/temp-dir.ts";

const parse = (text: string) => parseReceiverSettings(text, "receiver.ini");

test("an empty file says what no file says: dom0 only, real mountpoints only", () => {
  expect(parse("")).toEqual(defaultSettings);
  expect(parse("[receiver]\n")).toEqual(defaultSettings);
  expect(defaultSettings).toMatchObject({
    allowCallers: ["dom0"],
    mountpoints: undefined,
    plainDirectories: [],
    requireServiceFlag: false,
    trashDays: undefined,
  });
});

test("every key", () => {
  expect(
    parse(`[receiver]
; who
allow-callers = dom0, sys-backup
mountpoints = /mnt/volume, /run/media/user/My Drive
plain-directories = /home/user/backups
services = sparsebak.Send,sparsebak.Receive
require-service-flag = yes
trash-days = 30
`),
  ).toEqual({
    allowCallers: ["dom0", "sys-backup"],
    mountpoints: ["/mnt/volume", "/run/media/user/My Drive"],
    plainDirectories: ["/home/user/backups"],
    services: ["sparsebak.Send", "sparsebak.Receive"],
    requireServiceFlag: true,
    trashDays: 30,
  });
});

test("comments, and characters that begin one", () => {
  const text = `; a comment
# mountpoints = /x#y
[receiver] 
mountpoints = /mnt/a\\#b\\;c ; two in one
plain-directories = "/mnt/d#e"
trash-days = 3 # x;y
`;
  expect(parse(text)).toMatchObject({
    mountpoints: ["/mnt/a#b;c"],
    plainDirectories: ["/mnt/d#e"],
    trashDays: 3,
  });
});

describe("what is not understood allows nothing", () => {
  test.each([
    ["an unknown key", "[receiver]\nallow-caller = dom0"],
    ["an unknown section", "[reciever]\n"],
    ["a key outside of a section", "allow-callers = dom0"],
    ["a list in another notation", "[receiver]\nmountpoints[] = /a\nmountpoints[] = /b"],
    ["a key that is there twice", "[receiver]\ntrash-days = 30\ntrash-days = 0"],
    ["a key that is there twice, in two sections", "[receiver]\ntrash-days = 30\n[receiver]\ntrash-days = 0"],
    ["a path that a comment cuts", "[receiver]\nplain-directories = /home/user#backups"],
    ["a path that another comment cuts", "[receiver]\nplain-directories = /home/user;backups ; mine"],
    ["a relative path", "[receiver]\nmountpoints = mnt"],
    ["a path that leads upwards", "[receiver]\nplain-directories = /mnt/../etc"],
    ["the root", "[receiver]\nplain-directories = /"],
    ["an empty item", "[receiver]\nmountpoints = /a,,/b"],
    ["an empty list", "[receiver]\nallow-callers ="],
    ["no name of a qube", "[receiver]\nallow-callers = *"],
    ["a wildcard of policies", "[receiver]\nallow-callers = @anyvm"],
    ["no service", "[receiver]\nservices = sparsebak.Everything"],
    ["days that are none", "[receiver]\ntrash-days = a month"],
    ["days below none", "[receiver]\ntrash-days = -1"],
    ["days beyond all measure", "[receiver]\ntrash-days = 36501"],
    ["neither yes nor no", "[receiver]\nrequire-service-flag = maybe"],
  ])("%s", (_name, text) => {
    expect(() => parse(text)).toThrow(SettingsError);
    expect(() => parse(text)).toThrow(/^receiver\.ini: /);
  });
});

describe("the file", () => {
  test("the first that exists counts, the one that is named before all", () => {
    using directory = tempDir();
    const [a, b, c, link] = ["a", "b", "c", "link"].map((name) => join(directory.path, name)) as [
      string,
      string,
      string,
      string,
    ];
    expect(loadReceiverSettings(undefined, [a, b])).toEqual(defaultSettings);
    symlinkSync(c, link);
    expect(() => loadReceiverSettings(undefined, [link, a])).toThrow("link: can't be read: ENOENT");
    writeFileSync(b, "[receiver]\nallow-callers = b");
    expect(loadReceiverSettings(undefined, [a, b]).allowCallers).toEqual(["b"]);
    writeFileSync(a, "[receiver]\nallow-callers = a");
    expect(loadReceiverSettings(undefined, [a, b]).allowCallers).toEqual(["a"]);
    writeFileSync(c, "[receiver]\nallow-callers = c");
    expect(loadReceiverSettings(c, [a, b]).allowCallers).toEqual(["c"]);
  });

  test("one that was named must exist", () => {
    expect(() => loadReceiverSettings("/nonexistent/receiver.ini", [])).toThrow(SettingsError);
  });

  test("one that others may write to, that is another user's, or that is no file, is refused", () => {
    using directory = tempDir();
    const file = join(directory.path, "receiver.ini");
    writeFileSync(file, "[receiver]\n");
    for (const mode of [0o666, 0o664, 0o646]) {
      chmodSync(file, mode);
      expect(() => loadReceiverSettings(undefined, [file])).toThrow("others than its owner may write");
    }
    chmodSync(file, 0o644);
    expect(loadReceiverSettings(undefined, [file])).toEqual(defaultSettings);
    if (process.getuid?.() === 0) {
      chownSync(file, 1234, 1234);
      expect(() => loadReceiverSettings(undefined, [file])).toThrow("belongs to user 1234");
    }
    const folder = join(directory.path, "folder");
    mkdirSync(folder);
    expect(() => loadReceiverSettings(undefined, [folder])).toThrow("not a regular file");
  });
});
