// Which file may import what. That the VM's services can't read sealed data, or that one file a side starts
// processes, holds only while imports keep to it, so a program checks it and not a reader.
// Run: node test/support/import-rules.ts [ROOT]. Prints `path:line: rule` for each violation and then exits 1.
import { readdirSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join, normalize } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { importsOf, type Import } from "./imports.ts";
import { findCycles } from "./import-cycles.ts";

/** A path from the root (`a/b.ts`) or a folder (`a/`), which stands for everything below it. */
type Place = string;

/** The product's folders and what the files of each may import by relative path. */
const layers: Readonly<Record<string, readonly Place[]>> = {
  "protocol/": ["protocol/"],
  "dom0-agent/": ["dom0-agent/", "protocol/"],
  "vm-receiver/": ["vm-receiver/", "protocol/"],
};

/** The parts of each side, from the top down: none imports a part above itself. Other files are everybody's. */
const orders: readonly (readonly Place[])[] = [
  [
    "dom0-agent/cli/",
    "dom0-agent/session/",
    "dom0-agent/heal/",
    "dom0-agent/check/",
    "dom0-agent/restore/",
    "dom0-agent/prune/",
    "dom0-agent/send/",
    "dom0-agent/archive/",
    "dom0-agent/monitor/",
    "dom0-agent/context.ts",
    "dom0-agent/pipeline/",
    "dom0-agent/keys/",
    "dom0-agent/config/",
    "dom0-agent/storage/",
    "dom0-agent/state/",
    "dom0-agent/delta/",
    "dom0-agent/transport/",
  ],
  [
    "vm-receiver/service/",
    "vm-receiver/assemble/",
    "vm-receiver/scrub/",
    "vm-receiver/config/",
    "vm-receiver/store/",
  ],
];

/** These may import anything; only cycles are looked for. */
const freeFolders: readonly Place[] = ["test/", "bench/", "packaging/"];

/** Parts of the tree that only some others may import. */
const restrictedFolders: Readonly<Record<Place, readonly Place[]>> = {
  "protocol/seal/": [
    "protocol/seal/",
    "dom0-agent/",
    "vm-receiver/assemble/unlock.ts",
    "vm-receiver/assemble/worker.ts",
  ],
  // So that no service's program holds it.
  "vm-receiver/assemble/unlock.ts": ["vm-receiver/assemble/cli.ts"],
};

/** npm packages, all that the product may use, and where. */
const packageHomes: Readonly<Record<string, readonly Place[]>> = {
  execa: ["dom0-agent/tools.ts", "vm-receiver/tools.ts"],
  yargs: ["dom0-agent/cli/", "vm-receiver/assemble/arguments.ts"],
  "tar-stream": ["vm-receiver/store/tar/"],
  ini: ["dom0-agent/config/", "vm-receiver/config/"],
};

/** Built-in modules that only some places may import; outside protocol/ all others are free. */
const builtinHomes: Readonly<Record<string, readonly Place[]>> = {
  "node:child_process": ["dom0-agent/tools.ts", "vm-receiver/tools.ts"],
};

/** Protocol is pure: bytes in, bytes out. Hashing, ciphers and zstd are all that it needs of the platform. */
const protocolBuiltinHomes: Readonly<Record<string, readonly Place[]>> = {
  "node:crypto": ["protocol/archive/", "protocol/seal/"],
  // For its CRC-32, and to decompress.
  "node:zlib": ["protocol/seal/chunk-seal.ts", "protocol/archive/decompress.ts"],
};

export interface Violation {
  readonly path: string;
  readonly line: number;
  readonly rule: string;
}

/** Every violation below `root`, in the order of paths and lines. */
export function checkImports(root: string): Violation[] {
  const violations: Violation[] = [];
  const graph = new Map<string, Import[]>();
  for (const path of sourceFiles(root)) {
    const imports = importsOf(path, readFileSync(join(root, path), "utf8"));
    graph.set(
      path,
      imports.flatMap((found) => {
        const target = relativeTarget(path, found.specifier);
        return target === undefined ? [] : [{ ...found, specifier: target }];
      }),
    );
    if (within(path, freeFolders)) continue;
    for (const { specifier, line } of imports) {
      const rule = brokenRule(path, specifier);
      if (rule !== undefined) violations.push({ path, line, rule });
    }
  }
  for (const { path, line, cycle } of findCycles(graph)) {
    violations.push({
      path,
      line,
      rule: `files must not import each other in a circle: ${cycle.join(" -> ")}`,
    });
  }
  return violations.sort((a, b) => (a.path === b.path ? a.line - b.line : a.path < b.path ? -1 : 1));
}

/** The rule that this import breaks; undefined when it breaks none. No specifier means one computed at run time. */
function brokenRule(path: string, specifier: string | undefined): string | undefined {
  if (specifier === undefined) return "an import must name its module in a literal string";
  const target = relativeTarget(path, specifier);
  if (target !== undefined) return brokenFileRule(path, target);
  if (isBuiltin(specifier)) return brokenBuiltinRule(path, specifier);
  if (specifier.startsWith("/") || specifier.includes(":"))
    return `an import must not be absolute: ${specifier}`;
  const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
  const homes = Object.hasOwn(packageHomes, name) ? packageHomes[name] : undefined;
  if (homes === undefined) return `the product must not use the package ${name}`;
  return within(path, homes) ? undefined : `${name} may be imported only by ${homes.join(", ")}`;
}

function brokenFileRule(path: string, target: string): string | undefined {
  for (const [layer, allowed] of Object.entries(layers)) {
    if (path.startsWith(layer) && !within(target, allowed)) {
      return `${layer} may import only files of ${allowed.join(", ")}, not ${target}`;
    }
  }
  for (const [folder, homes] of Object.entries(restrictedFolders)) {
    if (target.startsWith(folder) && !within(path, homes)) {
      return `${folder} may be imported only by ${homes.join(", ")}`;
    }
  }
  for (const parts of orders) {
    const place = (of: string): number => parts.findIndex((each) => within(of, [each]));
    const from = place(path);
    const to = place(target);
    if (from >= 0 && to >= 0 && to < from)
      return `${parts[from]} may import only what is below it, not ${parts[to]}`;
  }
  return undefined;
}

function brokenBuiltinRule(path: string, specifier: string): string | undefined {
  if (!specifier.startsWith("node:")) return `a built-in module must be imported as node:${specifier}`;
  if (!path.startsWith("protocol/")) {
    const homes = builtinHomes[specifier];
    if (homes === undefined || within(path, homes)) return undefined;
    return `${specifier} may be imported only by ${homes.join(", ")}`;
  }
  const homes = protocolBuiltinHomes[specifier];
  if (homes === undefined) return `protocol/ must not import the built-in module ${specifier}`;
  return within(path, homes)
    ? undefined
    : `in protocol/, ${specifier} may be imported only by ${homes.join(", ")}`;
}

function relativeTarget(path: string, specifier: string | undefined): string | undefined {
  if (specifier === undefined || !/^\.\.?(\/|$)/.test(specifier)) return undefined;
  return normalize(join(dirname(path), specifier));
}

function within(path: string, places: readonly Place[]): boolean {
  return places.some((place) => (place.endsWith("/") ? path.startsWith(place) : path === place));
}

function sourceFiles(root: string): string[] {
  const tops = new Set([...Object.keys(layers), ...freeFolders].map((folder) => folder.slice(0, -1)));
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && tops.has(entry.name))
    .flatMap(({ name }) =>
      readdirSync(join(root, name), { recursive: true, encoding: "utf8" }).map((below) => join(name, below)),
    )
    .filter((path) => /\.[cm]?[jt]s$/.test(path) && !path.startsWith("test/.cache/"))
    .sort();
}

if (import.meta.main) {
  const violations = checkImports(process.argv[2] ?? fileURLToPath(new URL("../..", import.meta.url)));
  for (const { path, line, rule } of violations) console.log(`${path}:${line}: ${rule}`);
  if (violations.length > 0) process.exitCode = 1;
}
