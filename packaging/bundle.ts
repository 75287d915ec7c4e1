// One program as a bundle: a file with what it needs to start and, where it imports more once it knows what is wanted, a
// second with all of that and a third with what both need. So `sparsebak --version` reads a third of the program; and a
// command has read all of it before it begins, so that an update in the middle takes none of these files from it.

import { fileURLToPath } from "node:url";
import { build, type BuildOptions, type Plugin } from "esbuild";

export interface BundledFile {
  readonly name: string;
  readonly text: string;
}

const root = fileURLToPath(new URL("..", import.meta.url));

const options = {
  absWorkingDir: root,
  bundle: true,
  splitting: true,
  write: false,
  metafile: true,
  outdir: "dist/lib",
  platform: "node",
  format: "esm",
  /** Oldest Node that the bundles run on. */
  target: "node22.15",
  alias: { "string-width": "./packaging/plain-width.ts" },
  legalComments: "eof",
  logLevel: "warning",
} as const satisfies BuildOptions;

/** CommonJS packages ask for built-in modules by require(), which an ES module has to be given. */
const requireBanner =
  'import { createRequire as sparsebakCreateRequire } from "node:module";\n' +
  "const require = sparsebakCreateRequire(import.meta.url);\n";

/** Bundles the program that begins at `source`, a path below the project's root, as `file`: NAME.mjs and, where it imports
 *  some of itself at run time, NAME-later.mjs and NAME-chunk.mjs. Throws where two of what it imports so export one name. */
export async function bundle(source: string, file: string): Promise<readonly BundledFile[]> {
  const name = file.replace(/\.mjs$/, "");
  const start = { ...options, entryPoints: { [name]: source }, outExtension: { ".js": ".mjs" } };
  const { metafile } = await build(start);
  const later = Object.values(metafile.outputs).flatMap(({ entryPoint, exports }) =>
    entryPoint === undefined || entryPoint === source
      ? []
      : [`export { ${exports.join(", ")} } from "./${entryPoint}";`],
  );
  const { outputFiles } = await build({
    ...start,
    chunkNames: `${name}-[name]`,
    plugins: [asOneModule(later.join("\n"))],
  });
  return outputFiles.map(({ path, text }) => ({
    name: path.slice(path.lastIndexOf("/") + 1),
    text: text.includes("var __require =") ? requireBanner + text : text,
  }));
}

/** Has every import() lead to one module, which exports all that any of them asks for. */
function asOneModule(contents: string): Plugin {
  return {
    name: "later",
    setup: (building) => {
      building.onResolve({ filter: /^\./ }, ({ kind }) =>
        kind === "dynamic-import" ? { path: "later", namespace: "later" } : undefined,
      );
      building.onLoad({ filter: /^later$/, namespace: "later" }, () => ({ contents, resolveDir: root }));
    },
  };
}
