// Preloaded into a program under test (node --import): kills it with SIGKILL right before the n-th thing that it does
// to the outside: a file made, written, synced, renamed, linked, removed, a program started. KILL_AT is n;
// with KILL_COUNT, a file, the number of such things is written there when the program ends by itself. KILL_FROM and
// KILL_UNTIL, regular expressions, bound what is counted: from the first thing that fits to the next one that does.
// With KILL_SIGNAL, it gets that one instead: SIGSTOP holds it there until the test lets it go on. With KILL_POWER, in
// the lab's guest alone, the machine is reset instead: what was not synced is gone.

import childProcess from "node:child_process";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { isMainThread } from "node:worker_threads";

const killAt = Number(process.env.KILL_AT ?? 0);
const countFile = process.env.KILL_COUNT;
const { appendFileSync, writeFileSync } = fs;
const trace = process.env.KILL_TRACE;
const from = process.env.KILL_FROM && new RegExp(process.env.KILL_FROM);
const until = process.env.KILL_UNTIL && new RegExp(process.env.KILL_UNTIL);
let state = from ? "before" : "counting";
let count = 0;

function happens(what) {
  if (state === "before" && from.test(what)) state = "counting";
  else if (state === "counting" && until?.test(what)) state = "behind";
  if (state !== "counting") return;
  count++;
  if (trace !== undefined) appendFileSync(trace, `${count} ${what}\n`);
  if (count !== killAt) return;
  if (process.env.KILL_POWER === "1" && process.env.VM_RUN === "1") {
    writeFileSync("/proc/sysrq-trigger", "b");
    for (;;); // the reset takes a moment
  }
  process.kill(process.pid, process.env.KILL_SIGNAL ?? "SIGKILL");
}

if (isMainThread) {
  const changes = [
    "renameSync",
    "linkSync",
    "unlinkSync",
    "rmSync",
    "rmdirSync",
    "mkdirSync",
    "fsyncSync",
    "ftruncateSync",
    "writeSync",
    "writevSync",
  ];
  for (const name of changes) {
    const original = fs[name];
    fs[name] = (...args) => {
      // Text for people (stderr) is no change of anything.
      if (!(name === "writeSync" && args[0] === 2))
        happens(`${name} ${typeof args[0] === "number" ? "" : String(args[0])}`);
      return original(...args);
    };
  }
  const originalOpen = fs.openSync;
  fs.openSync = (path, flags, ...rest) => {
    const creates =
      typeof flags === "number" ? (flags & fs.constants.O_CREAT) !== 0 : /[wa]/.test(flags ?? "r");
    if (creates) happens(`openSync ${String(path)}`);
    return originalOpen(path, flags, ...rest);
  };
  const originalSpawn = childProcess.spawn;
  childProcess.spawn = (file, ...rest) => {
    happens(`spawn ${file} ${Array.isArray(rest[0]) ? rest[0].slice(0, 3).join(" ") : ""}`);
    return originalSpawn(file, ...rest);
  };
  syncBuiltinESMExports();
  process.on("exit", () => {
    if (countFile !== undefined) writeFileSync(countFile, String(count));
  });
}
