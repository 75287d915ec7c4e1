// What a new index may say of the containers of the one before: with the power to add, that they are all there as they
// were; with the power to prune, fewer of them, and later manifests and lists of those that stay (protocol.md, P24, P25).

import type { Container } from "../../protocol/archive/index-file.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { RefusalError } from "../errors.ts";
import type { Power } from "./writing.ts";

/** A container of the new index, and which of its files are new. */
export interface NewFiles {
  readonly container: Container;
  readonly files: readonly ("header" | "manifest" | "list")[];
  /** The index before did not name it. */
  readonly isNew: boolean;
}

/** Compares the containers of an index for head `generation` with those before. Gives what has to be there now and was not
 *  before. RefusalError `malformed` for what the power does not allow. */
export function checkKept(
  power: Power,
  old: readonly Container[],
  now: readonly Container[],
  generation: Generation,
): readonly NewFiles[] {
  const before = new Map(old.map((each) => [toHex(each.uid), each]));
  const after = new Set(now.map((each) => toHex(each.uid)));
  if (power === "add" && old.some((each) => !after.has(toHex(each.uid)))) {
    throw new RefusalError(
      "malformed",
      "a session has gone from an index, and sparsebak.Send removes nothing",
    );
  }
  return now.map((container): NewFiles => {
    const known = before.get(toHex(container.uid));
    if (known === undefined) {
      if (power === "prune")
        throw new RefusalError("malformed", "a session has come to an index, and sparsebak.Prune adds none");
      const files = isWithoutSession(container)
        ? (["list"] as const)
        : (["header", "manifest", "list"] as const);
      return { container, files, isNew: true };
    }
    return {
      container,
      files: power === "add" ? unchanged(known, container) : pruned(known, container, generation),
      isNew: false,
    };
  });
}

/** True for a container that never had a session (archive-format.md, F16). */
export function isWithoutSession({ headerDigest }: Container): boolean {
  return headerDigest.every((byte) => byte === 0);
}

function unchanged(a: Container, b: Container): readonly [] {
  const same =
    isSame(a, b) &&
    a.chunks === b.chunks &&
    a.storedBytes === b.storedBytes &&
    sameFile(a, b, "list") &&
    sameFile(a, b, "manifest");
  if (!same) throw new RefusalError("malformed", "a session that was there has been changed");
  return [];
}

function pruned(a: Container, b: Container, generation: Generation): readonly ("manifest" | "list")[] {
  const wrong = (what: string): never => {
    throw new RefusalError("malformed", `a container that was there ${what}`);
  };
  if (!isSame(a, b)) wrong("has another name, form or header");
  const files: ("manifest" | "list")[] = [];
  for (const file of ["manifest", "list"] as const) {
    if (sameFile(a, b, file)) continue;
    // A session that goes takes its manifest with it; and none comes back.
    if (file === "manifest" && b.manifestGeneration === 0) continue;
    if (file === "manifest" && a.manifestGeneration === 0) wrong("has a session again");
    if (b[`${file}Generation`] !== generation) wrong(`has a ${file} of another generation`);
    files.push(file);
  }
  const counted = a.chunks === b.chunks && a.storedBytes === b.storedBytes;
  if (!counted && !files.includes("list")) wrong("has other chunks, and the same list");
  return files;
}

function isSame(a: Container, b: Container): boolean {
  return a.name === b.name && a.form === b.form && equalBytes(a.headerDigest, b.headerDigest);
}

function sameFile(a: Container, b: Container, file: "manifest" | "list"): boolean {
  return (
    a[`${file}Generation`] === b[`${file}Generation`] && equalBytes(a[`${file}Digest`], b[`${file}Digest`])
  );
}
