/**
 * What stands inside a block: bold, italic and code, as nodes; all else is the text that it is.
 */

import { element } from "../element.js";

// Emphasis opens and closes at a word, never inside one: snake_case and 2 * 3 * 4 stay as they are.
const INLINE =
  /(`+)(.+?)\1|\*\*(?=\S)(.+?\S?)\*\*|(?<![\w*])\*(?=[^\s*])(.+?)(?<=[^\s*\\])\*(?![\w*])|(?<!\w)_(?=\S)([^_]+?)(?<=[^\s\\])_(?!\w)|\\([\\`*_{}[\]()#+\-.!>~|])/s;

// A longer run of text is shown as it is: unclosed marks cost the square of the length.
const LONGEST_INLINE = 5000;

/** @param {string} text @returns {(Node | string)[]} */
export function inline(text) {
  if (text.length > LONGEST_INLINE) return [text];
  const nodes = [];
  let rest = text;
  for (let match = rest.match(INLINE); match; match = rest.match(INLINE)) {
    const index = /** @type {number} */ (match.index);
    if (index > 0) nodes.push(rest.slice(0, index));
    const [whole, , code, bold, star, underscore, escaped] = match;
    if (escaped !== undefined) nodes.push(escaped);
    else if (code !== undefined) nodes.push(element("code", { text: code }));
    else if (bold !== undefined) nodes.push(element("strong", {}, ...inline(bold)));
    else nodes.push(element("em", {}, ...inline(star ?? underscore)));
    rest = rest.slice(index + whole.length);
  }
  if (rest) nodes.push(rest);
  return nodes;
}
