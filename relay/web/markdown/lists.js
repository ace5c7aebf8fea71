/**
 * Which lines belong to the items of a list: those below their first words, over blank lines too.
 */

import {
  beginsBlock,
  fence,
  heading,
  indentOf,
  isBlank,
  isRule,
  marker,
  outdented,
  quoted,
} from "./lines.js";
import { beginsTable } from "./tables.js";

/** What is indented so far under a mark belongs to its item: models write no more under `10.` either. */
const UNDER = 2;

/** What may become the mark of an item; a number alone may be the whole text. */
const BARE = /^[ \t]*(?:[-+]|\d{1,3}[.)])$/;
const NUMBER = /^[ \t]*\d{1,3}$/;

/** Lines that are being written, without a last one that may become an item and has no word of it yet. */
export function withoutBareItem(/** @type {string[]} */ lines) {
  const last = lines[lines.length - 1];
  return BARE.test(last) || (lines.length > 1 && NUMBER.test(last))
    ? [...lines.slice(0, -1), ""]
    : lines;
}

/**
 * @param {string[]} lines @param {number} start
 * @returns {{ordered: boolean, number: number, items: string[][], end: number}}
 */
export function listAt(lines, start) {
  const first = /** @type {import("./lines.js").Marker} */ (marker(lines[start]));
  const items = [];
  let end = start;
  for (let at = start; at < lines.length;) {
    const mark = isRule(lines[at]) ? null : marker(lines[at]);
    if (mark?.ordered !== first.ordered) break;
    const item = itemAt(lines, at, mark);
    items.push(item.lines);
    at = end = item.end;
    while (at < lines.length && isBlank(lines[at])) at += 1;
  }
  return { ordered: first.ordered, number: first.number, items, end };
}

/** @param {string[]} lines @param {number} start @param {import("./lines.js").Marker} mark */
function itemAt(lines, start, mark) {
  const inner = [mark.text];
  let open = fence(mark.text);
  // A line that is not indented goes on with the words before it, where there are any.
  let goesOn = isWords(mark.text);
  let inTable = false;
  let { within } = mark;
  let at = start + 1;
  for (; at < lines.length; at += 1) {
    const columns = indentOf(lines[at]);
    const under = columns >= mark.indent + UNDER;
    // What is in the item keeps its steps, also where the first is a short one.
    if (under && !open && !isBlank(lines[at])) within = Math.min(within, columns);
    const line = outdented(lines[at], within);
    if (open) {
      if (open.closing.test(line)) open = null;
      inner.push(line);
      continue;
    }
    if (isBlank(line)) {
      const next = afterBlanks(lines, at);
      if (next === lines.length || indentOf(lines[next]) < mark.indent + UNDER) break;
      for (; at < next - 1; at += 1) inner.push("");
      inner.push("");
      goesOn = inTable = false;
      continue;
    }
    if (!under && (!goesOn || beginsBlock(line) || beginsTable(lines, at))) break;
    inner.push(line);
    open = fence(line);
    inTable ||= beginsTable(inner, inner.length - 2);
    goesOn = !inTable && isWords(line);
  }
  return { lines: inner, end: at };
}

function isWords(/** @type {string} */ line) {
  return !(fence(line) || heading(line) || isRule(line) || quoted(line) !== null);
}

function afterBlanks(/** @type {string[]} */ lines, /** @type {number} */ at) {
  let next = at;
  while (next < lines.length && isBlank(lines[next])) next += 1;
  return next;
}
