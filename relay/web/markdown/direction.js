/**
 * Which way words run, by their first letter.
 *
 * A browser's own `dir="auto"` looks through all of an element at each change below it, which costs the square of a
 * long text, and passes over what has a way of its own, such as all cells of a table.
 */

const LETTER = /\p{L}/u;
/** Hebrew, Arabic and their kin. */
const TO_THE_LEFT =
  /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** As an attribute; words without a letter run as those around them. */
export function ownWay(/** @type {string} */ words) {
  const [letter] = LETTER.exec(words) ?? [];
  return { dir: letter ? (TO_THE_LEFT.test(letter) ? "rtl" : "ltr") : null };
}
