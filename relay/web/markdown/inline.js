/**
 * What stands inside a block: bold, italic, code and links, as nodes; all else is the text that it is.
 */

import { element } from "../element.js";
import { destination, halfLink, link, mayLead } from "./links.js";

// A longer run of text is shown as it is: unclosed marks cost the square of the length.
const LONGEST_INLINE = 5000;

// Emphasis opens and closes at a word, never inside one: snake_case and 2 * 3 * 4 stay as they are.
const MARKS = [
  /(?<ticks>`+)(?<code>.+?)\k<ticks>/,
  /\*\*(?=\S)(?<bold>.+?\S?)\*\*/,
  /(?<![\w*])\*(?=[^\s*])(?<star>.+?)(?<=[^\s*\\])\*(?![\w*])/,
  /(?<!\w)_(?=\S)(?<underscore>[^_]+?)(?<=[^\s\\])_(?!\w)/,
  // An image stays as it was written: none is loaded.
  /(?<!!)\[(?<words>(?:\\.|[^[\]\\]|\[[^[\]]*\])*)\]\((?:<(?<angled>[^<>\n]*)>|(?<bare>(?:\\.|[^\s()<>\\]|\((?:\\.|[^\s()\\])*\))*))(?:\s+"[^"]*"|\s+'[^']*')?\s*\)/,
  /<(?<angle>(?:https?:\/\/|mailto:)[^\s<>]+|(?<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+))>/,
  /(?<![\w@.-])(?<address>https?:\/\/[^\s<>"“”‘’«»`\u3000-\u303f\uff00-\uffef]*)/,
  /\\(?<escaped>[\\`*_{}[\]()#+\-.!>~|])/,
];
// Only what begins like words: [1], [^1], [x] and a[0] are seldom links.
const HALF =
  /(?<![\w!\]])\[(?![xX]\]?$)(?<half>(?:[\p{L}*_`"“][^[\]\n]*)?)(?:\](?:\((?<towards>(?:[^\s()]|\([^\s()]*\))*(?:\([^\s()]*)?)(?:\s+(?:["'][^\n)]*)?)?)?)?$/u;

const joined = (/** @type {RegExp[]} */ ...marks) =>
  new RegExp(marks.map(({ source }) => source).join("|"), "gsu");
const WHOLE = joined(...MARKS);
const UNFINISHED = joined(...MARKS, HALF);

/**
 * With `open` more may follow at the end: a link that is not whole there is shown as its words. A link's own
 * words (`linked`) hold no other.
 *
 * @param {string} text @param {{open?: boolean, linked?: boolean}} [where]
 * @returns {(Node | string)[]}
 */
export function inline(text, { open = false, linked = false } = {}) {
  if (text.length > LONGEST_INLINE) return [text];
  const marks = open ? UNFINISHED : WHOLE;
  const nodes = [];
  let shown = 0;
  let at = 0;
  for (;;) {
    marks.lastIndex = at;
    const match = marks.exec(text);
    if (!match) break;
    const start = match.index;
    const made = draw(match, { open, linked });
    // It stays as it was written.
    if (made === null) at = start + 1;
    else {
      if (start > shown) nodes.push(text.slice(shown, start));
      nodes.push(made.node);
      shown = at = start + made.length;
    }
  }
  if (shown < text.length) nodes.push(text.slice(shown));
  return nodes;
}

/**
 * @param {RegExpExecArray} match @param {{open: boolean, linked: boolean}} where
 * @returns {{node: Node | string, length: number} | null}
 */
function draw(match, { open, linked }) {
  const [whole] = match;
  const found = /** @type {Record<string, string | undefined>} */ (match.groups);
  const as = (/** @type {Node | string} */ node, length = whole.length) => ({ node, length });
  if (found.escaped !== undefined) return as(found.escaped);
  if (found.code !== undefined) return as(element("code", { text: found.code }));
  if (found.bold !== undefined)
    return as(element("strong", {}, ...inline(found.bold, { linked })));
  const italic = found.star ?? found.underscore;
  if (italic !== undefined) return as(element("em", {}, ...inline(italic, { linked })));
  if (linked) return null;

  if (found.half !== undefined)
    return mayLead(found.towards ?? "")
      ? as(halfLink(inline(found.half, { open, linked: true })))
      : null;
  if (found.words !== undefined) {
    const url = destination(found.angled ?? unescaped(found.bare ?? ""));
    const words = found.words.trim() ? inline(found.words, { linked: true }) : [url?.href ?? ""];
    return url && as(link(url, words));
  }
  if (found.angle !== undefined) {
    const url = destination(found.mail ? `mailto:${found.mail}` : found.angle);
    return url && as(link(url, [found.angle]));
  }
  const address = found.address ?? "";
  if (open && match.index + address.length === match.input.length) return as(halfLink([address]));
  const trimmed = withoutEnd(address);
  const url = destination(trimmed);
  return url && as(link(url, [trimmed]), trimmed.length);
}

/** An address in running text, without what follows it there: the full stop, the bracket around it. */
function withoutEnd(/** @type {string} */ address) {
  const count = (/** @type {string} */ mark) => address.split(mark).length;
  /** @type {Record<string, number>} */
  const unopened = { ")": count(")") - count("("), "]": count("]") - count("[") };
  let end = address.length;
  for (; end > 0; end -= 1) {
    const last = address[end - 1];
    if (last in unopened ? unopened[last] <= 0 : !/[?!.,:;*_~']/.test(last)) break;
    if (last in unopened) unopened[last] -= 1;
  }
  return address.slice(0, end);
}

function unescaped(/** @type {string} */ address) {
  return address.replace(/\\([!-/:-@[-`{-~])/g, "$1");
}
