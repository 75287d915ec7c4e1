// docs/tour.md, line by line: its commands are run as they stand there, and have to print what stands below them, but for
// times, sessions' names and random ids. What happens between them (a volume changes, a drive rots) is in comments of the
// document. SPARSEBAK_WRITE_TOUR=1 writes what was printed into it.

import { spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { atTerminal } from "../support/at-terminal.ts";
import { makeSite, type Site } from "../support/site.ts";

const document = new URL("../../docs/tour.md", import.meta.url).pathname;
const mib = 1024 * 1024;
const size = 8 * mib;
const shown = "/mnt/volume";

/** What the document's comments do. */
const actions: Readonly<Record<string, (site: Site, ...args: readonly string[]) => void | Promise<void>>> = {
  make: (site, volume = "", seed = "1") =>
    makeImage(site.image(volume), { size, dataBytes: 2 * mib, seed: Number(seed) }),
  change: (site, volume = "", seed = "1") => changeImage(site.image(volume), mib / 4, Number(seed), size),
  clone: (site, from = "", to = "") => writeFileSync(site.image(to), readFileSync(site.image(from))),
  /** Kills the agent when it has sent a part. */
  interrupt: async (site, volume = "") => {
    makeImage(site.image(volume), { size: 64 * mib, dataBytes: 24 * mib, seed: 77 });
    const child = spawn("sparsebak", ["-u", "send", volume], { stdio: "ignore", env: environment(site) });
    // The directories of a sealed archive have no names of volumes.
    const parts = (): readonly string[] =>
      readdirSync(site.archive, { recursive: true, encoding: "utf8" }).filter((path) =>
        /\.part\/.*x[0-9a-f]{16}$/.test(path),
      );
    while (parts().length < 20) await sleep(5);
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("close", resolve));
  },
  /** Flips a bit of the last chunk of a volume's newest, or oldest, session that has chunks in a directory. */
  rot: (site, volume = "", which = "newest") => {
    const directory = site.volumeDirectory(volume);
    const chunks = readdirSync(directory, { recursive: true, encoding: "utf8" })
      .filter((path) => /^S_[^/]*\/[0-9a-f]{9}\/x[0-9a-f]{16}$/.test(path))
      .sort();
    const path = join(directory, chunks.at(which === "newest" ? -1 : 0) ?? "");
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    chmodSync(path, 0o644);
    writeFileSync(path, bytes);
  },
  /** Another destination on the same drive. */
  usb: (site) =>
    appendFileSync(site.ini, `[archive usb]\ndestvm = none\ndestmountpoint = ${site.drive}\ndestdir = usb\n`),
  /** A copy of the drive is kept, and put in its place later. */
  keep: (site) => cpSync(site.archive, join(site.directory, "kept"), { recursive: true }),
  putBack: (site) => {
    rmSync(site.archive, { recursive: true });
    cpSync(join(site.directory, "kept"), site.archive, { recursive: true });
  },
  /** Another machine: the settings, and nothing of what dom0 knew. */
  forget: (site) => rmSync(join(site.state, "archives"), { recursive: true }),
  /** Damages a file of dom0's state. */
  damage: (site, name = "") => {
    const path = join(site.state, name);
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    writeFileSync(path, bytes);
  },
};

async function sleep(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

function environment(site: Site): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PATH: `${join(site.directory, "bin")}:${process.env["PATH"] ?? ""}`,
    LANG: "C.UTF-8",
  };
}

/** The programs by their names, with the site's settings. */
function installPrograms(site: Site): void {
  const bin = join(site.directory, "bin");
  mkdirSync(bin);
  for (const [name, first] of [
    ["sparsebak", `-c ${site.ini}`],
    ["spbk-assemble", ""],
  ] as const)
    writeFileSync(
      join(bin, name),
      `#!/bin/sh\nexec ${process.execPath} ${site.program(`${name}.mjs`)} ${first} "$@"\n`,
      { mode: 0o755 },
    );
}

/** Prompts at which the passphrase is typed, by the document's word for them. */
const prompted: Readonly<Record<string, readonly string[]>> = {
  new: ["New passphrase: ", "The same passphrase again: "],
  known: ["Passphrase, or recovery form of the key: "],
};

/** What a command prints: in a shell, or, where there are prompts, at a terminal. */
async function printed(site: Site, command: string, prompts: readonly string[] | undefined): Promise<string> {
  if (prompts !== undefined) {
    const answers = prompts.map((prompt) => [prompt, site.passphrase] as const);
    const { code, output } = await atTerminal(site, "sparsebak", command.split(" ").slice(1), answers);
    expect(code, output).toBe(0);
    return stripVTControlCharacters(output).replaceAll("\r", "");
  }
  const script = `exec 2>&1; ${command}; status=$?; [ $status = 0 ] || echo "(exit status $status)"`;
  const options = { encoding: "utf8", env: environment(site), cwd: site.directory } as const;
  return spawnSync("bash", ["-c", script], options).stdout;
}

/** Output without what is another each time. */
function steady(text: string): string {
  return (
    text
      .replace(/\bS_\d{8}-\d{6}/g, "S_TIME")
      .replace(/\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}/g, "TIME")
      .replace(/\b[0-9a-f]{32,64}\b/g, "HEX")
      .replace(/\.old-[0-9a-f]{8}/g, ".old-TIME")
      .replace(/\b\d+ (?:s|min|h|days)\b/g, "SPAN")
      .replace(/\b[0-9.]+ (?:s|[KMG]iB\/s)\b/g, "SPEED")
      .replace(/\b\d+:\d\d\b/g, "SPAN")
      .replace(/\b[0-9A-Z]{4}(?:-[0-9A-Z]{4}){13}\b/g, "RECOVERY FORM")
      .replace(/\b[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}\b/g, "RECEIPT")
      // How far an interrupted send had come.
      .replace(/\d+ chunks of it are there/g, "CHUNKS of it are there")
      .replace(/(vm-big-private: full, S_TIME) \(.*\)/g, "$1 (SIZES)")
      .replace(/[ \t]+$/gm, "")
  );
}

test("the tour", { timeout: 300_000 }, async () => {
  const volumes = ["vm-work-private", "vm-debian-root", "vm-clone-root", "vm-big-private"];
  await using site = await makeSite({ volumes, local: true, sealed: "later", driveBytes: 512 * mib });
  installPrograms(site);
  const lines = readFileSync(document, "utf8").split("\n");
  const written: string[] = [];
  let prompts: readonly string[] | undefined;
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i] ?? "";
    written.push(line);
    const [, name = "", args = ""] = /^<!-- (\w+)((?: [^ ]+)*) -->$/.exec(line) ?? [];
    if (name === "type") prompts = prompted[args.trim()];
    else if (name !== "") await actions[name]?.(site, ...args.trim().split(" "));
    expect(name === "" || name in actions || prompts !== undefined, line).toBe(true);
    const command = /^    \$ (.*)$/.exec(line)?.[1];
    if (command === undefined) continue;
    const wanted: string[] = [];
    while (/^    (?!\$ )/.test(lines[i + 1] ?? "")) wanted.push((lines[++i] ?? "").slice(4));
    const found = (await printed(site, command.replaceAll(shown, site.drive), prompts))
      .replaceAll(site.drive, shown)
      .replaceAll(site.state, "/sparsebak")
      .replaceAll(`${site.directory}/`, "")
      .trimEnd();
    prompts = undefined;
    for (const each of found === "" ? [] : found.split("\n")) written.push(`    ${each}`.trimEnd());
    if (process.env["SPARSEBAK_WRITE_TOUR"] === undefined)
      expect(steady(found), `tour.md: $ ${command}`).toBe(steady(wanted.join("\n").trimEnd()));
  }
  if (process.env["SPARSEBAK_WRITE_TOUR"] !== undefined) {
    writeFileSync(`${document}.new`, written.join("\n"));
    renameSync(`${document}.new`, document);
  }
  expect(statSync(document).size).toBeGreaterThan(1000);
});
