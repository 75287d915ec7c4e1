// In the bundles, takes the place of the package string-width, with which yargs lays out its help. That one knows
// emoji and East Asian widths, and makes an Intl.Segmenter for them as soon as it is loaded: 30 of the 110 ms that
// `sparsebak --version` took. Our help is Latin text, where every character fills one column.
import { stripVTControlCharacters } from "node:util";

/** Columns that `text` fills on a terminal. */
export default function plainWidth(text: string): number {
  return stripVTControlCharacters(text).length;
}
