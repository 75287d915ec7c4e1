// How far a receiver is believed to have come with the open request: its own numbers are a claim, and count only up to
// what it can have to do. The stall watch hears what is left of them.

import { maxVolumeSize } from "../../protocol/archive/types.ts";
import type { StallWatch } from "../transport/watch.ts";

/** Bytes, of what a request is about, that a receiver must get on for it to count as progress. */
const progressBytes = 64 * 1024;
/** Where the number is not known, the share of what a receiver says it has dealt with that it must get on by. Numbers
 *  that only grow so come to an end: behind some 18 000 waits, with mostOfUnknown. */
const unknownShare = 1 / 1024;
/** Bytes of such work that are believed, at most. */
const mostOfUnknown = 2 * maxVolumeSize;

/** Bytes that a request makes the receiver work on, apart from what it is sent. */
export type Work = number | "unknown";

export interface CredibleProgress {
  /** A request begins: nothing of it is done. */
  restart(): void;
  /** The receiver says that it has dealt with `untrustedBytes`, in a request that is about `about`; it was sent
   *  `sentBytes`. */
  claimed(untrustedBytes: number, about: Work, sentBytes: number): void;
  /** A frame of an answer came, with so many bytes of what was asked for. They are held to that as they come, so that
   *  they count besides. An empty answer brings nothing. */
  brought(bytes: number): void;
}

export function credibleProgress(watch: StallWatch): CredibleProgress {
  // Of the open request: bytes that its answer has brought, and steps that its numbers have come to.
  let answerBytes = 0;
  let claimedSteps = 0;
  const getOn = (): void => watch.progress(claimedSteps + Math.floor(answerBytes / progressBytes));
  return {
    restart: () => {
      watch.restart();
      answerBytes = 0;
      claimedSteps = 0;
    },
    claimed: (untrustedBytes, about, sentBytes) => {
      claimedSteps = Math.max(claimedSteps, credibleSteps(untrustedBytes, about, sentBytes));
      getOn();
    },
    brought: (bytes) => {
      answerBytes += bytes;
      getOn();
    },
  };
}

/** Steps of progress that a number comes to. Nobody gets on with more than was sent, or than the request is about;
 *  where that is not known, a step is ever more bytes: numbers that only grow keep no connection. */
function credibleSteps(untrustedBytes: number, about: Work, sentBytes: number): number {
  const sure = about === "unknown" ? Math.max(sentBytes, progressBytes / unknownShare) : sentBytes + about;
  if (about !== "unknown" || untrustedBytes <= sure)
    return Math.floor(Math.min(untrustedBytes, sure) / progressBytes);
  const times = Math.min(untrustedBytes, mostOfUnknown) / sure;
  return Math.floor(sure / progressBytes + Math.log(times) / unknownShare);
}
