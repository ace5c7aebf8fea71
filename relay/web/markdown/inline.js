/**
 * What stands inside a block: bold, italic, struck, code and links, as nodes; all else is the text that it is.
 */

import { element } from "../element.js";
import { emphasis, mayOpen, ways } from "./emphasis.js";
import { destination, halfLink, link, mayLead } from "./links.js";

/** Where something may begin. No run is longer than what is left of the text: all is read once. */
const MARK =
  /\\[\\`*_{}[\]()#+\-.!>~|]|`+|\*+|_+|~+|\[|<|(?<![\w@.-])https?:\/\//gu;
const LINK =
  /\[(?<words>(?:\\.|[^[\]\\]|\[[^[\]]*\])*)\]\((?:<(?<angled>[^<>\n]*)>|(?<bare>(?:\\.|[^\s()<>\\]|\((?:\\.|[^\s()\\])*\))*))(?:\s+"[^"]*"|\s+'[^']*')?\s*\)/suy;
// Only what begins like words: [1], [^1], [x] and a[0] are seldom links.
const HALF =
  /(?<![\w\]])\[(?![xX]\]?$)(?<half>(?:[\p{L}*_~`"“][^[\]\n]*)?)(?:\](?:\((?<towards>(?:[^\s()]|\([^\s()]*\))*(?:\([^\s()]*)?)(?:\s+(?:["'][^\n)]*)?)?)?)?$/uy;
const ANGLE = /<(?<angle>(?:https?:\/\/|mailto:)[^\s<>]+|(?<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+))>/uy;
const ADDRESS = /https?:\/\/[^\s<>"“”‘’«»`\u3000-\u303f\uff00-\uffef]*/uy;
/** Within emphasis it ends where that may end. */
const ADDRESS_WITHIN = /https?:\/\/(?:(?!\*|~~)[^\s<>"“”‘’«»`\u3000-\u303f\uff00-\uffef])*/uy;

/**
 * Whether more may follow: nothing, more of the block, or more of its last line.
 * @typedef {false | "block" | "line"} Open
 * @typedef {{open: Open, linked: boolean}} Where
 * @typedef {{part: Node | string, length: number}} Found
 */

/**
 * With `open` more may follow at the end: what is opened there and not closed yet is shown as if it were closed,
 * and a link that is not whole as its words. A link's own words (`linked`) hold no other.
 *
 * @param {string} text @param {Partial<Where>} [where]
 * @returns {(Node | string)[]}
 */
export function inline(text, { open = false, linked = false } = {}) {
  const where = { open, linked };
  const spans = emphasis();
  const ticks = runsOfTicks(text);
  let at = 0;
  for (;;) {
    MARK.lastIndex = at;
    const match = MARK.exec(text);
    if (!match) break;
    const [run] = match;
    const start = match.index;
    if (start > at) spans.add(text.slice(at, start));
    at = start + run.length;
    if (run[0] === "\\") spans.add(run[1]);
    else if ("*_~".includes(run[0])) {
      const before = text.slice(Math.max(start - 2, 0), start);
      const half = open && at === text.length;
      if (!half || !(spans.awaits(run[0]) || mayOpen(run, before)))
        spans.run(run, ways(run, before, text.slice(at, at + 2)));
    } else {
      const found =
        run[0] === "`"
          ? code(text, start, run, ticks(run.length, at), open)
          : leading(text, start, where, spans.awaits("*") || spans.awaits("~"));
      spans.add(found?.part ?? run);
      if (found) at = start + found.length;
    }
  }
  if (at < text.length) spans.add(text.slice(at));
  return spans.end(open !== false);
}

/** Gives the next run of just so many ticks; it is asked for from left to right. */
function runsOfTicks(/** @type {string} */ text) {
  /** @type {Map<number, number[]> | null} */
  let runs = null;
  return (/** @type {number} */ length, /** @type {number} */ from) => {
    if (!runs) {
      runs = new Map();
      for (const { 0: run, index } of text.matchAll(/`+/g)) {
        const places = runs.get(run.length);
        if (places) places.push(index);
        else runs.set(run.length, [index]);
      }
      for (const places of runs.values()) places.reverse();
    }
    const places = runs.get(length) ?? [];
    while (places.length > 0 && places[places.length - 1] < from) places.pop();
    return places.at(-1);
  };
}

/**
 * @param {string} text @param {number} start @param {string} run @param {number | undefined} end @param {Open} open
 * @returns {Found | null}
 */
function code(text, start, run, end, open) {
  const from = start + run.length;
  if (end !== undefined)
    return {
      part: element("code", { text: text.slice(from, end) }),
      length: end + run.length - start,
    };
  if (!open || /^\s/.test(text.slice(from, from + 1))) return null;
  // Some of the ticks that close it may be there.
  let last = text.length;
  while (last > from && text[last - 1] === "`") last -= 1;
  const begun = text.slice(from, last);
  return {
    part: begun === "" ? "" : element("code", { text: begun }),
    length: text.length - start,
  };
}

/**
 * A link that begins here, or what is shown instead of it; null where nothing leads anywhere.
 * @param {string} text @param {number} start @param {Where} where @param {boolean} within emphasis
 * @returns {Found | null}
 */
function leading(text, start, { open, linked }, within) {
  const at = (/** @type {RegExp} */ pattern) => {
    pattern.lastIndex = start;
    return pattern.exec(text);
  };
  if (linked) return null;
  if (text[start] === "[") {
    // An image stays as it was written: none is loaded.
    if (text[start - 1] === "!") return null;
    const whole = at(LINK);
    if (whole) return wholeLink(whole);
    const half = open === "line" && at(HALF);
    if (!half) return null;
    const { half: words = "", towards = "" } = half.groups ?? {};
    if (!mayLead(towards)) return null;
    return { part: halfLink(inline(words, { open, linked: true })), length: half[0].length };
  }
  if (text[start] === "<") {
    const match = at(ANGLE);
    const { angle = "", mail } = match?.groups ?? {};
    const url = match && destination(mail ? `mailto:${mail}` : angle);
    return url && { part: link(url, [angle]), length: match[0].length };
  }
  const [address] = at(within ? ADDRESS_WITHIN : ADDRESS) ?? [""];
  if (open === "line" && start + address.length === text.length)
    return { part: halfLink([address]), length: address.length };
  const trimmed = withoutEnd(address);
  const url = destination(trimmed);
  // Refused, it is passed over as a whole: what it holds may begin like an address once more.
  return { part: url ? link(url, [trimmed]) : trimmed, length: trimmed.length };
}

/** @returns {Found | null} */
function wholeLink(/** @type {RegExpExecArray} */ { 0: all, groups = {} }) {
  const url = destination(groups.angled ?? unescaped(groups.bare ?? ""));
  if (!url) return null;
  const words = groups.words.trim() ? inline(groups.words, { linked: true }) : [url.href];
  return { part: link(url, words), length: all.length };
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
