/**
 * The blocks of a Markdown text: paragraphs, headings, lists, quotes, code, rules, tables. A pure function.
 */

import { beginsTable, table, withoutBareMarks } from "./tables.js";

/**
 * @typedef {{depth: number, ordered: boolean, number: number, text: string}} Item
 * @typedef {{source: string, open: import("./inline.js").Open}} Any
 * @typedef {Any & ({kind: "paragraph" | "quote" | "code" | "rule", text: string, language?: string}
 *   | {kind: "heading", level: number, text: string}
 *   | {kind: "list", items: Item[]}
 *   | ({kind: "table"} & import("./tables.js").Table))} Block
 */

// However far it is indented: it may belong to an item of a list.
const FENCE = /^([ \t]*)(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}>\s?(.*)$/;

/**
 * With `live` the text is being written: more may follow in its last block, which is `open` then; its last line may
 * be whole.
 * @param {string} text @param {boolean} [live] @returns {Block[]}
 */
export function blocks(text, live = false) {
  const lines = (live ? withoutBareMarks(text) : text).split("\n");
  /** @type {any[]} */
  const found = [];
  let at = 0;
  while (at < lines.length) {
    const start = at;
    const line = lines[at];
    /** @type {any} */
    let block = null;
    /** @type {RegExpMatchArray | null} */
    let match;
    if (line.trim() === "") {
      at += 1;
      continue;
    }
    if ((match = line.match(FENCE))) {
      const [, indent, fence, language] = match;
      const closing = new RegExp(`^[ \\t]*${fence[0]}{${fence.length},}\\s*$`);
      const margin = new RegExp(`^[ \\t]{0,${indent.length}}`);
      at += 1;
      while (at < lines.length && !closing.test(lines[at])) at += 1;
      const code = lines.slice(start + 1, at).map((one) => one.replace(margin, ""));
      block = { kind: "code", language, text: code.join("\n") };
      at += 1;
    } else if ((match = line.match(HEADING))) {
      block = { kind: "heading", level: match[1].length, text: match[2] };
      at += 1;
    } else if (RULE.test(line)) {
      block = { kind: "rule", text: "" };
      at += 1;
    } else if (QUOTE.test(line)) {
      const quoted = [];
      for (; at < lines.length && (match = lines[at].match(QUOTE)); at += 1) quoted.push(match[1]);
      block = { kind: "quote", text: quoted.join("\n") };
    } else if (ITEM.test(line)) {
      const items = [];
      for (; at < lines.length && lines[at].trim() !== ""; at += 1) {
        match = lines[at].match(ITEM);
        if (match) {
          const depth = Math.min(Math.floor(match[1].replaceAll("\t", "    ").length / 2), 5);
          items.push({
            depth,
            ordered: match[2] !== undefined,
            number: Number(match[2] ?? 0),
            text: match[3],
          });
        } else if (startsAnother(lines[at]) || beginsTable(lines, at)) break;
        else items[items.length - 1].text += `\n${lines[at].trim()}`;
      }
      block = { kind: "list", items };
    } else if (beginsTable(lines, at)) {
      at += 2;
      while (at < lines.length && lines[at].trim() !== "" && !startsAnother(lines[at])) at += 1;
      block = { kind: "table", ...table(lines.slice(start, at)) };
    } else {
      at += 1;
      while (
        at < lines.length &&
        lines[at].trim() !== "" &&
        !startsAnother(lines[at]) &&
        !beginsTable(lines, at)
      )
        at += 1;
      block = { kind: "paragraph", text: lines.slice(start, at).join("\n") };
    }
    block.source = lines.slice(start, at).join("\n");
    block.open = live && openness(lines, at);
    found.push(block);
  }
  return found;
}

/** How far a block is done that ends before this line. @returns {import("./inline.js").Open} */
function openness(/** @type {string[]} */ lines, /** @type {number} */ end) {
  if (end >= lines.length) return "line";
  return end === lines.length - 1 && lines[end].trim() === "" && "block";
}

function startsAnother(/** @type {string} */ line) {
  return (
    FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line)
  );
}
