/**
 * The blocks of a Markdown text: paragraphs, headings, lists, quotes, code, rules, tables. A pure function.
 */

import {
  beginsBlock,
  fence,
  heading,
  isBlank,
  isRule,
  marker,
  outdented,
  quoted,
} from "./lines.js";
import { listAt, withoutBareItem } from "./lists.js";
import { beginsTable, table, withoutBareRow } from "./tables.js";

/** Lists and quotes in lists and quotes, deeper than this, are text: each is read once more for each around it. */
const DEEPEST = 8;

/**
 * @typedef {import("./inline.js").Open} Open
 * @typedef {{kind: "paragraph", text: string} | {kind: "code", text: string, language: string} | {kind: "rule"}
 *   | {kind: "heading", level: number, text: string}
 *   | {kind: "quote", inner: Block[]}
 *   | {kind: "list", ordered: boolean, number: number, items: Block[][]}
 *   | ({kind: "table"} & import("./tables.js").Table)} Kind
 * @typedef {Kind & {source: string, open: Open}} Block
 */

/**
 * With `live` the text is being written: more may follow in its last block, which is `open` then; its last line may
 * be whole.
 * @param {string} text @param {boolean} [live] @returns {Block[]}
 */
export function blocks(text, live = false) {
  return read(text.split("\n"), live, 0);
}

/** @param {string[]} written @param {boolean} live @param {number} depth @returns {Block[]} */
function read(written, live, depth) {
  const lines = live ? withoutBareItem(withoutBareRow(written)) : written;
  const found = [];
  for (let at = 0; at < lines.length;) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const { end, make } = blockAt(lines, at, depth);
    const open = live && openness(lines, end);
    found.push({ ...make(open), source: lines.slice(at, end).join("\n"), open });
    at = end;
  }
  return found;
}

/** How far a block is done that ends before this line. @returns {Open} */
function openness(/** @type {string[]} */ lines, /** @type {number} */ end) {
  if (end >= lines.length) return "line";
  return end === lines.length - 1 && isBlank(lines[end]) && "block";
}

/**
 * Where the block that begins here ends, and what it is.
 * @param {string[]} lines @param {number} start @param {number} depth
 * @returns {{end: number, make: (open: Open) => Kind}}
 */
function blockAt(lines, start, depth) {
  const line = lines[start];
  const whole = (/** @type {number} */ end, /** @type {Kind} */ kind) => ({
    end,
    make: () => kind,
  });
  /** @param {string[]} inner @param {Open} open */
  const within = (inner, open) =>
    read(open === "block" ? [...inner, ""] : inner, open !== false, depth + 1);

  const begun = fence(line);
  if (begun) {
    let end = start + 1;
    while (end < lines.length && !begun.closing.test(lines[end])) end += 1;
    const code = lines.slice(start + 1, end).map((one) => outdented(one, begun.indent));
    return whole(end + 1, { kind: "code", language: begun.language, text: code.join("\n") });
  }
  const head = heading(line);
  if (head) return whole(start + 1, { kind: "heading", ...head });
  if (isRule(line)) return whole(start + 1, { kind: "rule" });
  if (depth < DEEPEST && quoted(line) !== null) {
    /** @type {string[]} */
    const inner = [];
    for (let at = start; at < lines.length; at += 1) {
      const one = quoted(lines[at]);
      if (one === null) break;
      inner.push(one);
    }
    return {
      end: start + inner.length,
      make: (open) => ({ kind: "quote", inner: within(inner, open) }),
    };
  }
  if (depth < DEEPEST && marker(line)) {
    const { end, items, ...kind } = listAt(lines, start);
    const last = items.length - 1;
    return {
      end,
      make: (open) => ({
        kind: "list",
        ...kind,
        items: items.map((item, at) => within(item, at === last && open)),
      }),
    };
  }
  const isTable = beginsTable(lines, start);
  let end = start + (isTable ? 2 : 1);
  while (
    end < lines.length &&
    !isBlank(lines[end]) &&
    !beginsBlock(lines[end]) &&
    (isTable || !beginsTable(lines, end))
  )
    end += 1;
  const own = lines.slice(start, end);
  if (isTable) return whole(end, { kind: "table", ...table(own) });
  const text = (depth > 0 ? own.map((one) => one.trimStart()) : own).join("\n");
  return whole(end, { kind: "paragraph", text });
}
