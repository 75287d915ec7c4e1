/** A stretch of a volume, in bytes. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}
