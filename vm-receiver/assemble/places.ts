// Where the chunks of a session lie: manifests name containers by volume id and session uid only, never by path
// (design section 7), so the way from there to a directory or tar leads through the head and that volume's index.

import { join } from "node:path";
import { concatBytes, toHex } from "../../protocol/bytes.ts";
import type { Container, VolumeIndex } from "../../protocol/archive/index-file.ts";
import { type ContainerRef, maxContainers } from "../../protocol/archive/manifest.ts";
import { fileNames } from "../../protocol/archive/names.ts";
import { type SessionName, uidBytes } from "../../protocol/archive/types.ts";
import { type ArchiveState, readContainers } from "./archive-state.ts";
import { AssembleError } from "./errors.ts";
import { printable } from "./printable.ts";

/** A container's place in the file system. Plain data: it goes to the workers as it is. */
export interface Place {
  readonly form: "dir" | "tar";
  /** The session's directory, or its tar. */
  readonly path: string;
  readonly session: SessionName;
}

/** The place of a session called `name` of the volume in `directory`. */
export function sessionPlace(
  state: ArchiveState,
  directory: string,
  container: { readonly form: "dir" | "tar"; readonly name: SessionName },
): Place {
  const suffix = container.form === "tar" ? fileNames.tarSuffix : "";
  return {
    form: container.form,
    path: join(state.path, directory, container.name + suffix),
    session: container.name,
  };
}

/** Containers by small numbers, from 1 on: one numbering for all manifests of a map. */
export interface ContainerTable {
  /** How many there are so far: the highest number. */
  readonly length: number;
  /** The number of a container, a new one for a new container. Throws AssembleError `corrupt-manifest` where there are more
   *  than a record can name. */
  numberOf(ref: ContainerRef): number;
  /** Where container `number` lies. Throws AssembleError `missing-container`. */
  place(number: number): Place;
}

/** Indexes of other volumes that are kept decoded. */
const keptIndexes = 4;

interface OpenedVolume {
  readonly directory: string;
  readonly containers: ReadonlyMap<string, Container>;
}

/** An empty table for the volume of `index`, which lies in `directory`. */
export function containerTable(state: ArchiveState, directory: string, index: VolumeIndex): ContainerTable {
  /** Volume and session, one after the other in hexadecimal: a string takes a fifth of what two arrays would. */
  const keys: string[] = [];
  const numbers = new Map<string, number>();
  const places = new Map<number, Place>();
  const volumes = new Map<string, OpenedVolume>();
  const own = toHex(index.volume);

  const opened = (of: Pick<VolumeIndex, "containers">, at: string): OpenedVolume => ({
    directory: at,
    containers: new Map(of.containers.map((each) => [toHex(each.uid), each])),
  });
  const ownVolume = opened(index, directory);

  const volumeOf = (key: string): OpenedVolume => {
    if (key === own) return ownVolume;
    const kept = volumes.get(key);
    if (kept !== undefined) return kept;
    if (state.head === undefined) {
      throw new AssembleError(
        "missing-container",
        `chunks lie in another volume of the archive, ${key}, and only this volume's directory is here, ${printable(join(state.path, directory))}`,
        "use the whole archive, or copy that volume's directory and `heads` as well",
      );
    }
    const named = state.head.volumes.find((each) => toHex(each.volume) === key);
    if (named === undefined) {
      throw new AssembleError(
        "missing-container",
        `chunks lie in a volume that head ${state.head.generation} does not name, ${key}, ${printable(state.path)}`,
      );
    }
    const volumeNow = opened(readContainers(state, named), named.directory);
    const [oldest] = volumes.keys();
    if (volumes.size >= keptIndexes && oldest !== undefined) volumes.delete(oldest);
    volumes.set(key, volumeNow);
    return volumeNow;
  };

  return {
    get length() {
      return keys.length;
    },
    numberOf: (ref) => {
      const key = toHex(concatBytes([ref.volume, ref.session]));
      const known = numbers.get(key);
      if (known !== undefined) return known;
      if (keys.length === maxContainers)
        throw new AssembleError(
          "corrupt-manifest",
          `manifests name more than ${maxContainers} containers, ${printable(join(state.path, directory))}`,
        );
      keys.push(key);
      numbers.set(key, keys.length);
      return keys.length;
    },
    place: (number) => {
      const known = places.get(number);
      if (known !== undefined) return known;
      const key = keys[number - 1];
      if (key === undefined) throw new RangeError(`container ${number} of ${keys.length}`);
      const volume = volumeOf(key.slice(0, 2 * uidBytes));
      const session = key.slice(2 * uidBytes);
      const container = volume.containers.get(session);
      if (container === undefined) {
        throw new AssembleError(
          "missing-container",
          `chunks lie in a session that the index does not name, ${session}, ${printable(join(state.path, volume.directory))}`,
        );
      }
      const place = sessionPlace(state, volume.directory, container);
      places.set(number, place);
      return place;
    },
  };
}
