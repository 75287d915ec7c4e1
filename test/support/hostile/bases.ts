// The installations that lies are told to. Each is made once for a file of tests, which copies it for every lie.

import { hostileSite, type HostileSite } from "./site.ts";

export interface Bases extends Disposable {
  /** Never sent to. */
  readonly first: HostileSite;
  /** With three sessions, and another archive beside it. */
  readonly known: HostileSite;
}

export async function bases(encryption: "on" | "off"): Promise<Bases> {
  const first = hostileSite(encryption);
  const known = first.copy();
  using other = first.copy();
  if (encryption === "on") {
    // Making a slot takes a second and half a gigabyte: one has one.
    await known.must("init", "--passphrase-file", known.passphraseFile);
    await other.must("init", "--no-passphrase");
  }
  await known.send("--tag", "first");
  known.change(1);
  await known.send("--tarfile");
  known.change(2);
  await known.send();
  known.change(3);
  await other.send();
  other.change(4);
  await other.send();
  known.keepBeside(other);
  return {
    first,
    known,
    [Symbol.dispose]: () => {
      for (const each of [first, known]) each[Symbol.dispose]();
    },
  };
}
