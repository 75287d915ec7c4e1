// What a session is written to and read from. Two implementations: a directory of chunk files and one tar; whichever is
// used, the service does not know more of it than this. test/suites/store.ts is the suite that both pass.

import type { ListIdentity } from "../../protocol/archive/list-file.ts";
import type { ChunkAddress, Digest, Generation, SessionName } from "../../protocol/archive/types.ts";
import type { Directory } from "../directory.ts";
import type { StoredFile } from "../files.ts";
import type { StoredChunks } from "./stored-chunks.ts";

export type Form = "dir" | "tar";

/** A session that is to be written. */
export interface NewSession extends ListIdentity {
  readonly name: SessionName;
  /** Bytes, of the archive's chunks and of the volume. */
  readonly chunkSize: number;
  readonly size: number;
}

/** How far a session has come: chunks, their stored bytes, and the address of the last one. */
export interface Written {
  readonly chunks: number;
  readonly bytes: number;
  readonly address: ChunkAddress;
}

/** A session being written, all of it under a name that no head can name. Disposing closes it and leaves it there. */
export interface SessionWriter extends Disposable {
  readonly written: Written;
  /** Stores the next chunk under its address; addresses rise. `stored` may be overwritten afterwards. Throws what the
   *  system throws; then the session is good for nothing but to be discarded. */
  writeChunk(address: ChunkAddress, stored: Uint8Array, checksum: Digest): void;
  /** Creates the session's header or manifest, empty, for writing and reading; the caller closes it. EEXIST when it has
   *  been made before. */
  createMeta(file: "header" | "manifest"): number;
  /** Makes everything written so far last; false where the file system can't promise that. */
  checkpoint(): Promise<boolean>;
  /** Ends the list of chunks and gives its digest. Nothing but `publish` may follow. */
  endList(): Digest;
  /** Makes the session last and gives it its final name, which nothing may have: RefusalError `exists`. */
  publish(): Promise<void>;
}

/** A file of a finished session; manifests and lists by their generation, `list` being 0. */
export type SessionFile =
  | { readonly kind: "header" }
  | { readonly kind: "manifest" | "list"; readonly generation: Generation };

export interface Salvageable {
  readonly name: SessionName;
  /** Whose session it was, and what the container's list will say. */
  readonly identity: ListIdentity;
  readonly chunkSize: number;
  /** True for chunks that nothing but themselves can vouch for. */
  readonly isWhole: (stored: Uint8Array) => boolean;
  /** So many more bytes have been read. */
  readonly onBytes: (bytes: number) => void;
}

/** One step of a removal is done: a file is gone, of so many bytes, or a name was looked at, which frees none. */
export type OnRemoved = (bytes: number) => void;

export interface Store {
  readonly form: Form;
  /** The names of a session below its volume's directory: finished, and while it is written. */
  finishedName(name: SessionName): string;
  partName(name: SessionName): string;
  /** Begins a session in a volume's directory. Nothing of that name may be there. */
  begin(volume: Directory, session: NewSession): Promise<SessionWriter>;
  /** Opens a file of a finished session; undefined where the session or the file is not there. */
  open(volume: Directory, name: SessionName, file: SessionFile): StoredFile | undefined;
  /** Opens the chunks of a finished session; undefined where it is not there. Throws FormatError. */
  chunks(volume: Directory, name: SessionName): StoredChunks | undefined;
  /** Whose session it is that lies, finished, under this name; undefined where that can't be told. */
  identityOf(volume: Directory, name: SessionName): ListIdentity | undefined;
  /** Makes a container without a session of what is left of one that no head names, finished or not, and publishes it
   *  under its name. Gives the number of its chunks; where that is 0, nothing is published. */
  salvage(volume: Directory, leftover: Salvageable): Promise<number>;
  /** Removes a finished session. RefusalError `not-allowed` when anything in it is not of a session; then it is whole. */
  remove(volume: Directory, name: SessionName, onRemoved?: OnRemoved): Promise<void>;
  /** Removes chunks of a finished session as far as the form allows, all of them dead. */
  removeChunks(
    volume: Directory,
    name: SessionName,
    addresses: Iterable<ChunkAddress>,
    on: { readonly punch: boolean; readonly onRemoved: OnRemoved },
  ): Promise<void>;
}
