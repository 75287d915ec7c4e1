import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { directoryStore } from "../../../vm-receiver/store/directory/directory-store.ts";
import { storeSuite } from "../../suites/store.ts";

storeSuite(directoryStore, (volume, name) => {
  const session = join(volume, name);
  const chunks = readdirSync(session, { recursive: true, encoding: "utf8" })
    .filter((path) => /\/x[0-9a-f]{16}$/.test(path))
    .sort()
    .map((path) => {
      const mode = statSync(join(session, path)).mode & 0o777;
      if (mode !== 0o600) throw new Error(`${path} has mode ${mode.toString(8)}`);
      const address = Number.parseInt(path.slice(-16), 16);
      return [address, new Uint8Array(readFileSync(join(session, path)))] as const;
    });
  return new Map(chunks);
});
