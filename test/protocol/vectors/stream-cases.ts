// Vectors of the stream itself: its preamble, and frames that are nobody's.

import { type Case, type Field, raw, u16, u64, zeros, frame } from "./layout.ts";

const magic = "00ff53504152534542414b0a";
const preamble = (version = 1, reserved = "0000"): Field[] => [
  raw("magic 00 FF SPARSEBAK LF", magic),
  u16("version", version),
  raw("reserved", reserved),
];

const make = (why: string, expected: string, comment: string, fields: readonly Field[], noise = 0): Case => ({
  file: `preamble/${why}`,
  reads: "structure preamble",
  expected,
  comment,
  given: { noise },
  ...(expected === "ok" ? { value: { frames: 0 } } : {}),
  fields,
});

export const preambleCases: readonly Case[] = [
  make("plain", "ok", "Sixteen bytes and nothing before them.", preamble()),
  make(
    "noise",
    "ok",
    "What a login shell printed comes first.",
    [raw("noise", "68656c6c6f0a"), ...preamble()],
    65_536,
  ),
  make(
    "noise-with-prefix",
    "ok",
    "The noise holds beginnings of the magic, the last of them cut by the magic itself.",
    [raw("noise", `${magic.slice(0, 22)}${magic.slice(0, 2)}${magic.slice(0, 6)}00`), ...preamble()],
    65_536,
  ),
  make("noise-limit", "ok", "As much noise as is allowed.", [zeros("noise", 64), ...preamble()], 64),
  make(
    "noise-above-limit",
    "bad-magic",
    "A byte of noise more than is allowed.",
    [zeros("noise", 65), ...preamble()],
    64,
  ),
  make("noise-unexpected", "bad-magic", "The receiver allows none.", [raw("noise", "0a"), ...preamble()]),
  make("other-version", "bad-version", "Version 2.", preamble(2)),
  make("reserved", "bad-value", "A reserved byte is set.", preamble(1, "0001")),
  make("cut", "truncated", "The stream ends inside the preamble.", preamble().slice(0, 2)),
  make("nothing", "truncated", "The stream ends before its first byte: a service that never started.", []),
];

export const framingCases: readonly Case[] = [
  {
    file: "frames/unknown-type",
    reads: "message agentHello",
    expected: "bad-value",
    comment: "Type 18 is nobody's.",
    fields: frame(18, 1, []),
  },
  {
    file: "frames/wrong-speaker",
    reads: "message agentHello",
    expected: "bad-value",
    comment: "`done` is the receiver's, not the agent's.",
    fields: frame(132, 1, [u64("bytes", 0)]),
  },
  {
    file: "frames/cut-header",
    reads: "message goodbye",
    expected: "truncated",
    comment: "The stream ends inside a frame's header.",
    fields: [u16("type", 12), u16("flags", 0), zeros("half of the id", 2)],
  },
];
