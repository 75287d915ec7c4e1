// Headers of tar members. tar-stream lays them out; for chunks, of which there are hundreds of thousands, one of its
// headers is kept, and name, size and checksum are changed in place.

import { pack } from "tar-stream";
import { tarBlockBytes } from "../../../protocol/archive/tar-layout.ts";
import type { SessionName } from "../../../protocol/archive/types.ts";
import { InternalError } from "../../../protocol/errors.ts";

/** Owner, mode and time of every member: root's, for its owner alone, and the time that the session is named after. */
export interface MemberLook {
  /** Milliseconds since 1970. */
  readonly time: number;
}

/** The time that a session's name spells, in UTC; 0 for one that is no time. */
export function timeOf(name: SessionName): number {
  const [, y, mo, d, h, mi, s] = /^S_(\d{4})(\d{2})(\d{2})-(\d{2})(\d{2})(\d{2})$/.exec(name) ?? [];
  const time = Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
  return Number.isNaN(time) || time < 0 ? 0 : time;
}

/** The header of one member, a multiple of 512 bytes. */
export async function memberHeader(name: string, size: number, look: MemberLook): Promise<Uint8Array> {
  const tar = pack();
  const entry = tar.entry({
    name,
    size,
    type: "file",
    mode: 0o600,
    uid: 0,
    gid: 0,
    mtime: new Date(look.time),
  });
  entry.on("error", () => {}); // It is never filled; destroying it below says so.
  const header = await new Promise<Uint8Array>((resolve, reject) => {
    tar.once("data", (bytes) => resolve((bytes as Uint8Array).slice()));
    tar.once("error", reject);
  });
  tar.destroy();
  if (header.length !== tarBlockBytes) throw new InternalError("a tar header of another length");
  return header;
}

// Places in a ustar header: name 0–99, size 124–135, checksum 148–155.
const sizeAt = 124;
const checksumAt = 148;

export interface HeaderTemplate {
  /** The header for a member whose name is as long as the template's. The array is used again. */
  fill(name: string, size: number): Uint8Array;
}

/** A template from the header of a member that is called `name`. */
export function headerTemplate(header: Uint8Array, name: string): HeaderTemplate {
  const buffer = Buffer.from(header);
  let fixed = 8 * 0x20;
  for (let i = 0; i < buffer.length; i++) {
    const changes =
      i < name.length || (i >= sizeAt && i < sizeAt + 12) || (i >= checksumAt && i < checksumAt + 8);
    if (!changes) fixed += buffer[i] ?? 0;
  }
  return {
    fill: (memberName, size) => {
      if (memberName.length !== name.length) throw new InternalError("a tar member's name of another length");
      buffer.write(memberName, 0, "latin1");
      buffer.write(`${size.toString(8).padStart(11, "0")} `, sizeAt, "latin1");
      let sum = fixed;
      for (let i = 0; i < name.length; i++) sum += buffer[i] ?? 0;
      for (let i = sizeAt; i < sizeAt + 12; i++) sum += buffer[i] ?? 0;
      buffer.write(`${sum.toString(8).padStart(6, "0")} \0`, checksumAt, "latin1");
      return buffer;
    },
  };
}
