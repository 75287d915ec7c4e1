// What `destvm` can name, by its text alone: the settings are checked with it, and the transports are chosen by it.

export interface SshDestination {
  readonly user: string;
  /** A host name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  /** Undefined: whatever ssh's own configuration says. */
  readonly port: number | undefined;
}

const userName = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/;
const hostName = /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9][A-Za-z0-9_-]{0,62})*$/;
const ipv6 = /^[0-9A-Fa-f:.]{2,45}$/;

/** What `ssh://user@host[:port]` names, or undefined where the text is anything else. */
export function parseSshDestination(text: string): SshDestination | undefined {
  const match = /^ssh:\/\/([^@:/[\]]+)@(?:\[([^\]]+)\]|([^@:/[\]]+))(?::([1-9]\d{0,4}))?$/.exec(text);
  if (match === null) return undefined;
  const [, user = "", bracketed, plain, portText] = match;
  const host = bracketed ?? plain ?? "";
  const port = portText === undefined ? undefined : Number(portText);
  if (port !== undefined && port > 65_535) return undefined;
  if (bracketed === undefined && ipv6.test(host) && !hostName.test(host)) return undefined;
  if (bracketed !== undefined && !ipv6.test(host)) return undefined;
  return isHarmless({ user, host }) ? { user, host, port } : undefined;
}

/** True where neither name can be taken for something else by ssh. */
export function isHarmless({ user, host }: Pick<SshDestination, "user" | "host">): boolean {
  return userName.test(user) && (hostName.test(host) || ipv6.test(host));
}

/** True for what Qubes accepts as the name of a VM: a letter, then letters, digits, `_` and `-`, at most 31. */
export function isVmName(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9_-]{0,30}$/.test(text);
}

export type Destination =
  | { readonly kind: "local" }
  | { readonly kind: "ssh"; readonly ssh: SshDestination }
  | { readonly kind: "qrexec"; readonly vm: string };

/** What `destvm` stands for: `none`, `ssh://user@host[:port]` or the name of a VM; for anything else, what was wanted
 *  in its place. */
export function destinationOf(
  destvm: string,
): Destination | { readonly kind: "wrong"; readonly wanted: string } {
  if (destvm === "none") return { kind: "local" };
  if (destvm.includes("://")) {
    const ssh = parseSshDestination(destvm);
    if (ssh !== undefined) return { kind: "ssh", ssh };
    return { kind: "wrong", wanted: "ssh://user@host or ssh://user@host:port" };
  }
  if (destvm === "dom0" || destvm === "@adminvm")
    return { kind: "wrong", wanted: "none, for a drive mounted in dom0" };
  if (isVmName(destvm)) return { kind: "qrexec", vm: destvm };
  return { kind: "wrong", wanted: "the name of a VM, none, or ssh://user@host[:port]" };
}
