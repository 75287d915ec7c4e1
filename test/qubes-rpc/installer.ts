// Runs qubes-rpc/install below a temporary DESTDIR, with programs that stand for the built ones.

import { spawnSync } from "node:child_process";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { launcher } from "../../packaging/launcher.ts";

export const qubesRpc: string = fileURLToPath(new URL("../../qubes-rpc", import.meta.url));
export const serviceNames = [
  "sparsebak.Send",
  "sparsebak.Receive",
  "sparsebak.Prune",
  "sparsebak.Assemble",
] as const;

export const ownPolicy = "/etc/qubes/policy.d/60-sparsebak.policy";

const bundleNames = [
  "sparsebak",
  "sparsebak-chunk",
  "sparsebak-later",
  "seal-worker",
  "restore-worker",
  "receiver",
  "spbk-assemble",
  "spbk-assemble-chunk",
  "spbk-assemble-later",
  "open-worker",
];

export interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface InstallLab extends Disposable {
  /** What `DESTDIR` is. */
  readonly root: string;
  /** The built programs: real launchers, and bundles that say how they were started. */
  readonly dist: string;
  /** A directory in front of PATH, for tools that the installer uses where they are. */
  readonly tools: string;
  install(...args: readonly string[]): Run;
  /** `mode path`, `path -> target` or `mode path/` of everything below root, sorted. */
  tree(): string[];
  read(path: string): string;
  write(path: string, text: string, mode?: number): void;
}

/** What the stand-in for receiver.mjs does: it says how it was started, then repeats its input. */
const receiver = `
console.log(JSON.stringify({ args: process.argv.slice(2), environment: process.env, flags: process.execArgv }));
process.stdin.pipe(process.stdout);
`;

/** `script`: the installer to run, where it is not the one of the source tree. */
export function installLab(root?: string, script: string = join(qubesRpc, "install")): InstallLab {
  const directory = mkdtempSync(join(tmpdir(), "install-"));
  const destination = root ?? join(directory, "root");
  const dist = join(directory, "dist");
  const tools = join(directory, "tools");
  for (const each of [destination, join(dist, "bin"), join(dist, "lib"), tools])
    mkdirSync(each, { recursive: true });
  for (const name of ["sparsebak", "spbk-assemble"]) {
    const text = launcher({ name, bundle: `${name}.mjs`, kind: "command" });
    writeFileSync(join(dist, "bin", name), text, { mode: 0o755 });
  }
  for (const name of serviceNames) {
    writeFileSync(join(dist, "bin", name), launcher({ name, bundle: "receiver.mjs", kind: "service" }), {
      mode: 0o755,
    });
  }
  for (const name of bundleNames) {
    writeFileSync(join(dist, "lib", `${name}.mjs`), name === "receiver" ? receiver : `// ${name}\n`);
  }
  // As the build leaves it: for running in place only.
  symlinkSync("../../node_modules/no-such-node", join(dist, "lib", "node"));

  return {
    root: destination,
    dist,
    tools,
    install: (...args) => {
      const { status, stdout, stderr } = spawnSync(script, [...args, "--dist", dist], {
        env: { PATH: `${tools}:/usr/sbin:/usr/bin:/sbin:/bin`, DESTDIR: destination },
        encoding: "utf8",
      });
      return { status, stdout, stderr };
    },
    tree: () => listing(destination, ""),
    read: (path) => readFileSync(join(destination, path), "utf8"),
    write: (path, text, mode = 0o644) => {
      const full = join(destination, path);
      mkdirSync(dirname(full), { recursive: true });
      writeFileSync(full, text);
      chmodSync(full, mode);
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}

function listing(root: string, below: string): string[] {
  return readdirSync(join(root, below))
    .sort()
    .flatMap((name) => {
      const path = `${below}/${name}`;
      const stat = lstatSync(join(root, path));
      if (stat.isSymbolicLink()) return [`${path} -> ${readlinkSync(join(root, path))}`];
      const mode = (stat.mode & 0o7777).toString(8);
      return stat.isDirectory() ? [`${mode} ${path}/`, ...listing(root, path)] : [`${mode} ${path}`];
    });
}

/** Of what is below root all but the directories. */
export function files(lab: InstallLab): string[] {
  return lab.tree().filter((line) => !line.endsWith("/"));
}
