// The main jobs of the bench, done by others with the same two states of the same image.

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { changeImage, makeImage } from "./image.ts";
import { diskUse, measure, type Row } from "./measure.ts";

/** What there is to back up: `dataBytes` in an image of `size` bytes, then `changedBytes` in the same. */
export interface Work {
  readonly image: string;
  readonly size: number;
  readonly dataBytes: number;
  readonly changedBytes: number;
}

/** Measures the first backup, the second, and restoring it, with everything of theirs below `directory`. */
export async function rival(name: "borg" | "restic", work: Work, directory: string): Promise<Row[]> {
  const { image, size, dataBytes, changedBytes } = work;
  const repository = join(directory, name);
  mkdirSync(repository);
  const env = {
    BORG_PASSPHRASE: "x",
    RESTIC_PASSWORD: "x",
    BORG_BASE_DIR: join(directory, "borg-home"),
    RESTIC_CACHE_DIR: join(directory, "restic-cache"),
  };
  const create = (label: string): readonly string[] =>
    name === "borg"
      ? [
          "create",
          "--compression",
          "zstd,3",
          "--chunker-params",
          "fixed,1048576",
          `${repository}::${label}`,
          image,
        ]
      : ["-r", repository, "backup", image];
  await measure(
    name,
    name === "borg" ? ["init", "-e", "repokey-blake2", repository] : ["-r", repository, "init"],
    env,
  );
  makeImage(image, { size, dataBytes, seed: 1 });
  const rows: Row[] = [
    { what: "first send", ...(await measure(name, create("one"), env)), bytes: diskUse(repository) },
  ];
  changeImage(image, changedBytes, 2, size);
  const before = diskUse(repository);
  rows.push({
    what: "second send",
    ...(await measure(name, create("two"), env)),
    bytes: diskUse(repository) - before,
  });
  const target = join(directory, `${name}-out`);
  mkdirSync(target);
  const restore =
    name === "borg"
      ? ["-c", `cd ${target} && borg extract --sparse ${repository}::two`]
      : ["-c", `restic -r ${repository} restore latest --target ${target}`];
  rows.push({ what: "assemble", ...(await measure("sh", restore, env)), bytes: diskUse(target) });
  rmSync(target, { recursive: true });
  return rows;
}
