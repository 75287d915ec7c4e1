// What the end-to-end tests of restoring, verifying and comparing begin with: an archive of three sessions of one volume
// and one of another, through the built programs, with the receiver a child of the agent.

import {
  copyFileSync,
  cpSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { expect } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { linesOf } from "./site-sessions.ts";
import { type Ended, makeSite, sha256Of, type Site } from "./site.ts";

const mib = 1024 * 1024;
export const volume = "work.img";
export const other = "other.img";
export const settings: readonly string[] = ["chunk-size = 64K"];

export interface Sent {
  readonly name: string;
  /** SHA-256 of the image, and its size in bytes. */
  readonly digest: string;
  readonly size: number;
}

export interface RestoreSite extends Site {
  /** Sessions of `volume`, oldest first: a directory, tagged «first»; a tar after growth; a directory after a shrink. */
  readonly sessions: readonly [Sent, Sent, Sent];
  /** SHA-256 of `other`, whose one session shares chunks with the first two of `volume`. */
  readonly otherDigest: string;
  /** Puts archive, state and images back to what they were after the sends. */
  reset(): void;
}

export async function makeRestoreSite(): Promise<RestoreSite> {
  const site = await makeSite({ volumes: [volume], driveBytes: 128 * mib, settings, local: true });
  writeFileSync(site.ini, `${readFileSync(site.ini, "utf8")}[groups]\nall = *.img\n`);
  const image = site.image(volume);
  const send = async (...args: string[]): Promise<Sent> => {
    const { session } = lineOf(good(await site.sparsebak(["-u", "--json", "send", ...args])));
    return { name: String(session), digest: sha256Of(image), size: statSync(image).size };
  };
  makeImage(image, { size: 12 * mib + 12_345, dataBytes: 3 * mib, seed: 7 });
  const first = await send("--tag", "first");
  truncateSync(image, 20 * mib);
  changeImage(image, mib, 8, 20 * mib);
  const second = await send("--tarfile");
  copyFileSync(image, site.image(other));
  changeImage(site.image(other), mib / 4, 5, 20 * mib);
  const shared = lineOf(await site.sparsebak(["-u", "--json", "send", other]), other);
  expect(Number(shared["storedBytes"])).toBeLessThan(mib);
  const otherDigest = sha256Of(site.image(other));
  truncateSync(image, 9 * mib + 777);
  changeImage(image, mib / 2, 9, 9 * mib);
  const last = await send();
  const saved = join(site.directory, "saved");
  const places = [site.archive, site.images, join(site.state, "archives")];
  for (const place of places) cpSync(place, join(saved, basename(place)), { recursive: true });
  return {
    ...site,
    sessions: [first, second, last],
    otherDigest,
    reset: () => {
      for (const place of places) {
        rmSync(place, { recursive: true, force: true });
        cpSync(join(saved, basename(place)), place, { recursive: true });
      }
      rmSync(join(site.state, "kept"), { force: true });
      for (const name of readdirSync(site.directory))
        if (name.endsWith(".img")) rmSync(join(site.directory, name));
    },
  };
}

/** Every file below the images' and the state's directory that a restore could have left. */
export function strays(site: Site): readonly string[] {
  return [site.images, site.state]
    .flatMap((directory) => readdirSync(directory, { recursive: true }).map(String))
    .filter((name) => /sparsebak-restore$|-tmp$|\.restore|^restoring$|verify$/.test(name));
}

/** It succeeded. */
export function good(ended: Ended): Ended {
  expect(ended, ended.stderr).toMatchObject({ code: 0, signal: null });
  return ended;
}

/** What --json printed of a volume. */
export function lineOf(ended: Ended, name: string = volume): Readonly<Record<string, unknown>> {
  return linesOf(ended).find((line) => line["type"] === "volume" && line["volume"] === name) ?? {};
}

/** Bytes that the file really occupies. */
export function occupied(path: string): number {
  return statSync(path).blocks * 512;
}
