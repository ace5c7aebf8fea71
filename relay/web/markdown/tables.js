/**
 * The lines of a table, as GitHub writes them: a row of heads, a row of dashes, and any number of rows.
 */

const DASHES = /^(:?)-+(:?)$/;
/** Of a line no more is there than a table has between its words. */
const MARKS_ALONE = /^[ \t|:-]+$/;

/** @typedef {{head: string[], align: (string | null)[], rows: string[][]}} Table */

/** What stands between the bars of a line; an escaped bar is one of its words. */
function cells(/** @type {string} */ line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** Whether a table begins with this line. @param {string[]} lines @param {number} at */
export function beginsTable(lines, at) {
  const [head, dashes = ""] = [lines[at], lines[at + 1]];
  if (!head.includes("|") || !dashes.includes("|")) return false;
  const marks = cells(dashes);
  return marks.every((one) => DASHES.test(one)) && marks.length === cells(head).length;
}

/** The table of these lines; a row's surplus cells stay in its last. @param {string[]} lines @returns {Table} */
export function table([first, dashes, ...rest]) {
  const head = cells(first);
  return {
    head,
    align: cells(dashes).map((one) => {
      const [, left, right] = one.match(DASHES) ?? [];
      return right ? (left ? "center" : "right") : null;
    }),
    rows: rest.map((line) => {
      const row = cells(line);
      const last = row.splice(head.length - 1).filter((cell, at) => at === 0 || cell !== "");
      return last.length > 0 ? [...row, last.join(" | ")] : row;
    }),
  };
}

/** Lines that are being written, without a last one that may become a row and has no word of it yet. */
export function withoutBareRow(/** @type {string[]} */ lines) {
  const [before, last] = lines.slice(-2);
  return last !== undefined && MARKS_ALONE.test(last) && before.includes("|")
    ? [...lines.slice(0, -1), ""]
    : lines;
}
