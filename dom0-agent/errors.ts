// The exit statuses, in one table, and the error that carries one of them to the command line (design section 3).

/** What a run can end with. A signal n ends it with 128+n. The man page prints this table. */
export const exitStatuses = {
  done: 0,
  failed: 1,
  usage: 2,
  partly: 3,
  destination: 4,
  integrity: 5,
  locked: 6,
} as const;
export type ExitReason = keyof typeof exitStatuses;

/** Something that the user has to know: what happened, what value, where; and, where there is one, what to do. */
export class AgentError extends Error {
  override readonly name: string = "AgentError";
  readonly reason: ExitReason;
  readonly hint: string | undefined;

  constructor(reason: ExitReason, message: string, hint?: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
    this.hint = hint;
  }
}

/** Somebody was asked and gave no answer that can be used. For the next volume of an archive it is not asked for again. */
export class UnansweredError extends AgentError {
  override readonly name: string = "UnansweredError";

  constructor(message: string, hint?: string) {
    super("failed", message, hint);
  }
}
