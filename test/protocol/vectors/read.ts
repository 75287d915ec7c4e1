// Reads the files of golden vectors (protocol/vectors/README.md).

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Vector {
  readonly name: string;
  /** Path below protocol/vectors. */
  readonly path: string;
  readonly reads: { readonly kind: "message" | "structure"; readonly name: string };
  readonly expected: string;
  readonly given: Readonly<Record<string, string>>;
  /** What an accepted one means; byte arrays are hexadecimal. */
  readonly value: Readonly<Record<string, unknown>>;
  readonly bytes: Uint8Array;
  /** Where the fields that have remarks begin. */
  readonly offsets: ReadonlyMap<string, number>;
}

export function readVectors(directory: string): readonly Vector[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".txt"))
    .sort()
    .map((path) => parse(path, readFileSync(join(directory, path), "utf8")));
}

function parse(path: string, content: string): Vector {
  const end = content.indexOf("\n\n");
  const head = new Map(
    content
      .slice(0, end)
      .split("\n")
      .map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]),
  );
  const below = (prefix: string): [string, string][] =>
    [...head]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => [key.slice(prefix.length), value]);
  const offsets = new Map<string, number>();
  let hex = "";
  for (const line of content.slice(end + 2).split("\n")) {
    const [digits = "", label] = line.split(" # ");
    if (label !== undefined) offsets.set(label, hex.length / 2);
    hex += digits;
  }
  const message = head.get("message");
  return {
    name: head.get("name") ?? path,
    path,
    reads:
      message === undefined
        ? { kind: "structure", name: head.get("structure") ?? "" }
        : { kind: "message", name: message },
    expected: head.get("expected") ?? "",
    given: Object.fromEntries(below("given.")),
    value: Object.fromEntries(below("value.").map(([key, value]) => [key, JSON.parse(value) as unknown])),
    bytes: new Uint8Array(Buffer.from(hex, "hex")),
    offsets,
  };
}

/** A decoded value as the vectors write it: byte arrays in hexadecimal. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
}
