/**
 * What a line of Markdown begins, taken alone. None of the patterns goes over a line more than once.
 */

// However far it is indented: it may belong to an item of a list.
const FENCE = /^([ \t]*)(`{3,}(?!`)|~{3,}(?!~))([^`]*)$/;
const HEADING = /^(#{1,6})(?:\s+(.*))?$/s;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|(\d{1,9})[.)])(\s+)(.*)$/s;
const QUOTE = /^ {0,3}>\s?(.*)$/s;
const TAB = 4;

/**
 * @typedef {{indent: number, language: string, closing: RegExp}} Fence
 * @typedef {{indent: number, within: number, ordered: boolean, number: number, text: string}} Marker
 */

export function isBlank(/** @type {string} */ line) {
  return line.trim() === "";
}

export function isRule(/** @type {string} */ line) {
  return RULE.test(line);
}

/** @returns {Fence | null} */
export function fence(/** @type {string} */ line) {
  const match = FENCE.exec(line);
  if (!match) return null;
  const [, indent, { 0: mark, length }, info] = match;
  return {
    indent: width(indent),
    language: /^[\w+#.-]*/.exec(info.trim())?.[0] ?? "",
    closing: new RegExp(`^[ \\t]*${mark}{${length},}\\s*$`),
  };
}

/** @returns {{level: number, text: string} | null} */
export function heading(/** @type {string} */ line) {
  const match = HEADING.exec(line);
  if (!match || match[2] === undefined) return null;
  const text = match[2].trimEnd();
  let end = text.length;
  while (text[end - 1] === "#") end -= 1;
  // C# is no end of a heading.
  const closed = end === 0 || /\s/.test(text[end - 1]);
  return { level: match[1].length, text: closed ? text.slice(0, end).trimEnd() : text };
}

/** What begins an item: its words are `within` so many columns. @returns {Marker | null} */
export function marker(/** @type {string} */ line) {
  const match = ITEM.exec(line);
  if (!match) return null;
  const [, before, mark, digits, space, text] = match;
  const indent = width(before);
  const gap = text === "" || space.length > TAB ? 1 : space.length;
  return {
    indent,
    within: indent + mark.length + gap,
    ordered: digits !== undefined,
    number: Number(digits ?? 0),
    text,
  };
}

/** The line within a quote; null where none is. */
export function quoted(/** @type {string} */ line) {
  return QUOTE.exec(line)?.[1] ?? null;
}

/** Whether a paragraph ends before this line. */
export function beginsBlock(/** @type {string} */ line) {
  return (
    FENCE.test(line) ||
    heading(line) !== null ||
    RULE.test(line) ||
    QUOTE.test(line) ||
    ITEM.test(line)
  );
}

/** How many columns of space a line begins with. */
export function indentOf(/** @type {string} */ line) {
  return width(line.slice(0, line.length - line.trimStart().length));
}

/** A line without so many columns of the space that it begins with. */
export function outdented(/** @type {string} */ line, /** @type {number} */ columns) {
  let at = 0;
  for (let gone = 0; gone < columns && (line[at] === " " || line[at] === "\t"); at += 1)
    gone += width(line[at]);
  return line.slice(at);
}

function width(/** @type {string} */ space) {
  return space.replaceAll("\t", " ".repeat(TAB)).length;
}
