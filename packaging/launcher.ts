// The small shell scripts that start the programs: no core files, which would hold keys; no inspector; and of the
// environment only what is named here, so that neither NODE_OPTIONS nor a caller in another qube can steer Node.

export interface Launcher {
  readonly name: string;
  /** Its file in lib/. */
  readonly bundle: string;
  /** A command runs for a person at a terminal; a service runs for qrexec, and its name is its first argument. */
  readonly kind: "command" | "service";
}

const servicePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Variables that pass, each only when it is set. */
const passed: Readonly<Record<Launcher["kind"], readonly string[]>> = {
  command: [
    "PATH",
    "HOME",
    "USER",
    "SUDO_USER",
    "LANG",
    "TERM",
    "COLUMNS",
    "NO_COLOR",
    "TMPDIR",
    "SSH_AUTH_SOCK",
  ],
  service: ["HOME", "QREXEC_REMOTE_DOMAIN", "QREXEC_SERVICE_FULL_NAME", "QREXEC_SERVICE_ARGUMENT"],
};

/** Flags that every Node gets. zstd is still called experimental in Node 22. A young generation of 1 MiB instead of 16
 *  costs no measurable time here and 30 MB less memory: what is large lies outside of the heap. */
const nodeFlags = "--disable-sigusr1 --disable-warning=ExperimentalWarning --max-semi-space-size=1";

/** Finds Node: a private one in lib/ comes first, then the system's. One that is too old would stop at a flag that it
 *  does not know, and say nothing that helps. */
const findNode = `node=$base/lib/node
[ -x "$node" ] || node=/usr/bin/node
[ -x "$node" ] || node=$(command -v node) || {
  echo "sparsebak: error: Node.js not found: no $base/lib/node, no /usr/bin/node, none on PATH" >&2
  echo "sparsebak: hint: install Node.js 22.15 or later (package nodejs)" >&2
  exit 127
}
[ "$node" = "$base/lib/node" ] || case $(env -i "$node" --version) in
v[0-9].* | v1[0-9].* | v2[01].* | v22.[0-9].* | v22.1[0-4].*)
  echo "sparsebak: error: $node is version $(env -i "$node" --version), wanted 22.15 or later" >&2
  echo "sparsebak: hint: install a newer Node.js, or put one in $base/lib/node" >&2
  exit 127
  ;;
esac`;

/** The script's text. It finds lib/ beside its own real directory, through symlinks. */
export function launcher({ name, bundle, kind }: Launcher): string {
  const service = kind === "service";
  return `#!/bin/sh
# Starts ${name}: lib/${bundle} with Node, in a clean environment.
# shellcheck disable=SC3045 # dash and bash both know -c
ulimit -c 0
${service ? `PATH=${servicePath}\nLANG=C\nexport PATH LANG\n` : ""}self=$(readlink -f -- "$0") || exit 127
base=\${self%/*/*}
${findNode}
set -- "$node" ${nodeFlags} "$base/lib/${bundle}" ${service ? `${name} ` : ""}"$@"
${passed[kind].map((variable) => `[ -z "\${${variable}+set}" ] || set -- "${variable}=$${variable}" "$@"`).join("\n")}
exec env -i ${service ? 'PATH="$PATH" LANG="$LANG" ' : ""}"$@"
`;
}
