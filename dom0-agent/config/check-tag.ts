// What a tag may be. Where a session is asked for, a tag will do, so it must not look like a session's name.

import { AgentError } from "../errors.ts";

/** Throws AgentError `usage`. */
export function checkTag(tag: string): void {
  if (!/^[A-Za-z0-9._+-]{1,64}$/.test(tag))
    throw new AgentError("usage", `tag: found «${tag}», wanted 1 to 64 letters, digits and ._+-`);
  if (tag.startsWith("S_"))
    throw new AgentError(
      "usage",
      `tag: found «${tag}», wanted something that does not begin as sessions do, with S_`,
    );
}
