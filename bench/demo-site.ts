// What ./run demo works on: dom0 and a backup VM, each a directory with what qubes-rpc/install puts into it, and between
// them the stand-ins for qrexec, which start the VM's services as Qubes OS does (test/support/qrexec).

import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { QrexecLab } from "../test/support/qrexec/lab.ts";
import { run, type RunResult } from "./programs.ts";

const installer = fileURLToPath(new URL("../qubes-rpc/install", import.meta.url));
const services = ["sparsebak.Send", "sparsebak.Receive", "sparsebak.Prune", "sparsebak.Assemble"] as const;
/** The VM that has the drive. */
export const backupVm = "backup";

export interface DemoSite {
  /** The directory of the volumes' image files. */
  readonly images: string;
  readonly archive: string;
  /** Runs dom0's `sparsebak`, with the site's settings. Throws when it fails. */
  sparsebak(...args: readonly string[]): Promise<RunResult>;
  /** Runs the VM's `spbk-assemble`. Throws when it fails. */
  spbkAssemble(...args: readonly string[]): Promise<RunResult>;
}

/** Installs into dom0 and the VM of `lab`, and makes image files' directory and drive below `directory`. The settings enable
 *  `volume`. */
export async function makeDemoSite(lab: QrexecLab, directory: string, volume: string): Promise<DemoSite> {
  const [images, drive] = [join(directory, "images"), join(directory, "drive")];
  for (const each of [images, drive]) mkdirSync(each);
  const agent = await install(lab.machine.root("dom0"), "/usr/lib/sparsebak", "dom0");
  const receiver = await install(lab.machine.root(backupVm), "/usr/local/lib/sparsebak", "vm", "--app-vm");

  // Mounting takes root, so the drive is a plain directory, which the receiver's settings have to allow. It looks for them in
  // this machine's own /rw and /etc; so before each service comes one that starts it as ssh may, with a settings file.
  const settings = join(lab.machine.root(backupVm), "rw/config/sparsebak/receiver.ini");
  writeFileSync(settings, `[receiver]\nplain-directories = ${drive}\n`);
  for (const service of services) {
    const start = `exec '${receiver}/bin/${service}' --settings '${settings}'`;
    const text = `#!/bin/sh\nunset QREXEC_REMOTE_DOMAIN QREXEC_SERVICE_FULL_NAME\n${start}\n`;
    lab.service(backupVm, service, text, "/run/qubes-rpc");
  }

  const ini = join(lab.machine.root("dom0"), "sparsebak.ini");
  writeFileSync(
    ini,
    `[var]\nlocalpath = ${images}\ndestvm = ${backupVm}\ndestmountpoint = ${drive}\ndestdir = backups\n\n[volumes]\n${volume} = enable\n`,
  );
  // Not by its launcher, which lets no environment say where qrexec-client is.
  const program = ["--disable-sigusr1", "--disable-warning=ExperimentalWarning", "--max-semi-space-size=1"];
  program.push(`${agent}/lib/sparsebak.mjs`, "-c", ini);
  const environment = { ...process.env, SPARSEBAK_TOOL_PATH: lab.dom0Path };
  return {
    images,
    archive: join(drive, "backups"),
    sparsebak: async (...args) => run(process.execPath, [...program, ...args], environment),
    spbkAssemble: async (...args) => run(`${receiver}/bin/spbk-assemble`, args),
  };
}

/** Installs a role below `root`, with the Node that runs us as the programs' own. Gives where its programs are. */
async function install(root: string, programs: string, ...role: readonly string[]): Promise<string> {
  mkdirSync(join(root, programs, "lib"), { recursive: true });
  symlinkSync(process.execPath, join(root, programs, "lib/node"));
  await run(installer, role, { ...process.env, DESTDIR: root });
  return join(root, programs);
}
