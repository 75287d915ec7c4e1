// What a receiver may find wrong: so much is kept of all that one connection says, however many containers there are.

import { expect, test } from "vitest";
import { connect } from "../../../dom0-agent/archive/client.ts";
import type { ArchiveUuid, SessionUid, VolumeId } from "../../../protocol/archive/types.ts";
import { concatBytes } from "../../../protocol/bytes.ts";
import { encodeFrame } from "../../../protocol/wire/frame.ts";
import type { Damage } from "../../../protocol/wire/messages.ts";
import { polite } from "../../support/memory-receiver.ts";

const uid = new Uint8Array(16).fill(1);
const of = { volume: uid as VolumeId, session: uid as SessionUid };

test("what is wrong beyond 65 536 in all is told as one damage, and what is none is left out", async () => {
  const answers: (readonly Pick<Damage, "file" | "what" | "number">[])[] = [
    Array.from({ length: 65_536 }, (_, i) => ({ file: "chunk", what: "extra", number: i * 65_536 })),
    [
      { file: "chunk", what: "extra", number: 0 },
      { file: "chunk", what: "missing", number: 65_536 },
      { file: "list", what: "stale", number: 3 },
    ],
    [{ file: "other", what: "leftover", number: 0 }],
  ];
  const receiver = polite(({ type, id }) => {
    if (type !== "scrub") return [];
    const said = (answers.shift() ?? []).map((each) => encodeFrame("damage", id, { ...of, ...each }));
    return [concatBytes([...said, encodeFrame("done", id, { bytes: 0 })])];
  });
  await using client = await connect({
    transport: receiver,
    service: "sparsebak.Receive",
    where: { mountpoint: "/mnt", directory: "d", archive: new Uint8Array(16) as ArchiveUuid },
    stallSeconds: 60,
    signal: new AbortController().signal,
  });
  const known = { chunks: 1, bytes: 1, canHave: () => true };
  expect(await client.scrub(of.volume, of.session, known)).toHaveLength(65_536);
  const more = { ...of, file: "other", what: "corrupt", number: 0 };
  expect(await client.scrub(of.volume, of.session, known)).toEqual([more]);
  expect(await client.scrubRest()).toEqual([]);
});
