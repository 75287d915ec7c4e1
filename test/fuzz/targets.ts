// What is fuzzed, and what must hold of it. Each target takes good values, damages them, and holds the decoder to its
// promise (protocol.md P3, archive-format.md F1): a FormatError, or a value that encodes to exactly those bytes.
// Whatever else comes out, another exception or other bytes, is a finding.

import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { concatBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { encodeFrame, encodePreamble, frameDecoder, maxNoiseBytes } from "../../protocol/wire/frame.ts";
import {
  type MessageName,
  type Messages,
  messages,
  type Sender,
  type Service,
  services,
} from "../../protocol/wire/messages.ts";
import { dialogue, transitions } from "../../protocol/wire/states.ts";
import { messageBodies, structureValues, tarSizeOf } from "../protocol/arbitraries.ts";
import { type StructureName, structures, type WholeOffsets } from "../protocol/structures.ts";
import { mutate } from "./mutate.ts";
import { agentTarget } from "./agent-target.ts";
import type { Random } from "./random.ts";
import { receiverTarget } from "./receiver-target.ts";
import { recordTargets } from "./record-targets.ts";
import { sealedTargets } from "./sealed-targets.ts";
import { stateTargets } from "./state-targets.ts";
import { Finding, orFormatError, type Target } from "./target.ts";

const corpusSize = 40;
const messageNames = Object.keys(messages) as MessageName[];

/** Every target, with a corpus of good values that the seed determines. */
export function targets(seed: number): readonly Target[] {
  return [
    frameStream("agent", seed),
    frameStream("receiver", seed),
    ...(Object.keys(structureValues) as StructureName[]).map((name) => structureFile(name, seed)),
    dialogueWalk(),
    ...sealedTargets(seed),
    ...recordTargets(seed),
    ...stateTargets(),
    receiverTarget(seed),
    agentTarget(seed),
  ];
}

/** Streams of frames in pieces of any size, with noise before them where a receiver speaks. */
function frameStream(from: Sender, seed: number): Target {
  const corpus = messageNames
    .filter((name) => messages[name].from === from)
    .flatMap((name) => {
      const bodies = messageBodies[name] as fc.Arbitrary<Messages[MessageName]>;
      return fc.sample(bodies, { seed, numRuns: corpusSize }).map((body, id) => encodeFrame(name, id, body));
    });
  const preamble = encodePreamble();
  return {
    name: `frames of the ${from}`,
    feed: (random) => {
      const good = Array.from({ length: 1 + random.below(20) }, () => random.pick(corpus));
      const frames = good.map((frame) => (random.once(4) ? mutate(random, frame, corpus) : frame));
      const noise = from === "receiver" && random.once(4) ? random.pick(corpus) : new Uint8Array(0);
      const greeting = random.once(50) ? mutate(random, preamble, corpus) : preamble;
      const stream = concatBytes([noise, greeting, ...frames]);
      const found = decodeInPieces(random, stream, from);
      const wanted = concatBytes(frames);
      // What was accepted is a beginning of what was sent, byte for byte.
      if (greeting === preamble && !equalBytes(found, wanted.subarray(0, found.length))) {
        throw new Finding(`frames of the ${from}: read ${toHex(found)} from ${toHex(wanted)}`);
      }
      return frames.length;
    },
  };
}

function decodeInPieces(random: Random, stream: Uint8Array, from: Sender): Uint8Array {
  const decoder = frameDecoder(from, from === "receiver" ? maxNoiseBytes : 0);
  const found: Uint8Array[] = [];
  const step = random.once(3) ? 1 + random.below(16) : stream.length;
  orFormatError(`frames of the ${from}`, stream, () => {
    for (let at = 0; at < stream.length; at += step) {
      for (const frame of decoder.push(stream.slice(at, at + step))) {
        found.push(encodeFrame(frame.type, frame.id, frame.body));
      }
    }
    decoder.end();
  });
  return concatBytes(found);
}

/** Whole files; half of the time with a digest that fits again, so that what is behind it is read. */
function structureFile(name: StructureName, seed: number): Target {
  const { decode, encode } = structures[name];
  const values = fc.sample(structureValues[name], { seed, numRuns: corpusSize });
  const corpus = values.map((value) => ({ bytes: encode(value), given: givenFor(name, value) }));
  const pieces = corpus.map((each) => each.bytes);
  return {
    name,
    feed: (random) => {
      const { bytes, given } = random.pick(corpus);
      const mutant = mutate(random, bytes, pieces);
      if (random.once(2)) repair(name, mutant);
      const found = orFormatError(name, mutant, () => encode(decode(mutant, given)));
      if (found !== undefined && !equalBytes(found, mutant)) {
        throw new Finding(`${name}: read ${toHex(mutant)} as ${toHex(found)}`);
      }
      return 1;
    },
  };
}

function givenFor(name: StructureName, value: unknown): Record<string, string> {
  return name === "offsets" ? { "file-size": String(tarSizeOf(value as WholeOffsets)) } : {};
}

function repair(name: StructureName, bytes: Uint8Array): void {
  if (name === "prefix" || bytes.length < 32) return;
  bytes.set(createHash("sha256").update(bytes.subarray(0, -32)).digest(), bytes.length - 32);
}

/** Both ends of one dialogue hear the same messages, legal and not: they agree, and what is refused moves neither. */
function dialogueWalk(): Target {
  return {
    name: "dialogue",
    feed: (random) => {
      const service = random.pick(Object.keys(services)) as Service;
      const ends = [dialogue(service), dialogue(service)] as const;
      const steps = 1 + random.below(40);
      let id = 1;
      for (let i = 0; i < steps; i++) {
        const before = ends[0].state;
        const legal = Object.keys(transitions[before]) as MessageName[];
        const message = random.once(3) || legal.length === 0 ? random.pick(messageNames) : random.pick(legal);
        if (random.once(5)) id = random.below(8);
        else if (messages[message].from === "agent" && before === "ready") id++;
        const [first, second] = ends.map((end) => accepts(() => end.step(message, id)));
        if (first !== second || ends[0].state !== ends[1].state) {
          throw new Finding(`dialogue: the ends differ over ${message} in ${before}`);
        }
        if (first === false && ends[0].state !== before) {
          throw new Finding(`dialogue: ${message} was refused and moved ${before} to ${ends[0].state}`);
        }
        const powers = messages[message].services;
        if (first === true && powers !== "all" && !powers.includes(service)) {
          throw new Finding(`dialogue: ${service} took ${message}`);
        }
      }
      return steps;
    },
  };
}

function accepts(step: () => void): boolean {
  try {
    step();
    return true;
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}
