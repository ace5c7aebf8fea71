/**
 * Shows a safe part of Markdown: paragraphs, headings, lists, quotes, code, rules, tables, emphasis and links.
 *
 * The text becomes text nodes and nothing else: no HTML, no images, whatever the model wrote, and links that say
 * where they lead. What is not understood is shown as it was written. Only what differs is changed, so that a
 * stream adds to its last block, and what is selected there stays so.
 */

import { element, filled } from "./element.js";
import { blocks } from "./markdown/blocks.js";
import { ownWay } from "./markdown/direction.js";
import { inline } from "./markdown/inline.js";

/**
 * @typedef {import("./markdown/inline.js").Open} Open
 * @typedef {import("./markdown/blocks.js").Block} Block
 * @typedef {import("./markdown/tables.js").Table} Table
 */

/** A table's cell of more characters than this has more than a few words. */
const SENTENCE = 40;

/**
 * What an item or a quote holds. Its first words stand in it themselves, however much follows: what is selected in
 * them stays so.
 * @param {Block[]} inner
 */
function contents(inner) {
  const [first, ...rest] = inner;
  return first?.kind === "paragraph"
    ? [...inline(first.text, { open: first.open }), ...rest.map(draw)]
    : inner.map(draw);
}

function classOf(/** @type {string} */ cell, /** @type {string | null} */ side) {
  return [side, cell.length > SENTENCE && "sentence"].filter(Boolean).join(" ") || null;
}

/**
 * A table in a box of its own, which scrolls sideways. A row has the cells that were written, and no others.
 * @param {Table} table @param {Open} open
 */
function table({ head, align, rows }, open) {
  const row = (
    /** @type {string} */ tag,
    /** @type {string[]} */ texts,
    /** @type {boolean} */ isLast,
  ) =>
    element(
      "tr",
      {},
      ...texts.map((text, at) =>
        filled(
          element(text === "" ? "td" : tag, {
            class: classOf(text, align[at]),
            scope: tag === "th" && text !== "" ? "col" : null,
            ...ownWay(text),
          }),
          // At the end of its line a cell is whole.
          inline(text, { open: isLast && at === texts.length - 1 && open === "line" && open }),
        ),
      ),
    );
  return element(
    "div",
    { class: "table", role: "group", "aria-label": "Table", tabindex: 0 },
    element(
      "table",
      // Its columns run the way of its own words too.
      ownWay([head, ...rows].flat().join(" ")),
      element("thead", {}, row("th", head, false)),
      rows.length > 0 &&
        element("tbody", {}, ...rows.map((texts, at) => row("td", texts, at === rows.length - 1))),
    ),
  );
}

/** @param {Block} block @returns {Element} */
function draw(block) {
  const { open } = block;
  switch (block.kind) {
    case "heading":
      // Below the page's own headings, so that the outline stays true.
      return filled(
        element(`h${Math.min(block.level + 2, 6)}`, {
          class: `level-${block.level}`,
          ...ownWay(block.text),
        }),
        inline(block.text, { open: open === "line" && open }),
      );
    case "code":
      return element(
        "pre",
        { tabindex: 0 },
        element("code", { text: block.text, data: { language: block.language } }),
      );
    case "quote":
      return filled(element("blockquote", ownWay(block.source)), contents(block.inner));
    case "rule":
      return element("hr");
    case "list":
      return filled(
        element(block.ordered ? "ol" : "ul", {
          start: block.ordered && block.number !== 1 ? block.number : null,
          ...ownWay(block.source),
        }),
        block.items.map((item) => filled(element("li"), contents(item))),
      );
    case "table":
      return table(block, open);
    default:
      return filled(element("p", ownWay(block.text)), inline(block.text, { open }));
  }
}

/**
 * Makes `old` equal to `made` with as little change as can be: text only grows where it did, so that a
 * selection, the focus and what was scrolled stay.
 * @param {Node} old @param {Node} made
 */
function patch(old, made) {
  if (old.nodeName !== made.nodeName) {
    /** @type {ChildNode} */ (old).replaceWith(made);
    return;
  }
  if (old instanceof Text) {
    rewrite(old, /** @type {Text} */ (made).data);
    return;
  }
  const [element, like] = [/** @type {Element} */ (old), /** @type {Element} */ (made)];
  for (const { name } of [...element.attributes])
    if (!like.hasAttribute(name)) element.removeAttribute(name);
  for (const { name, value } of like.attributes)
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  const [there, wanted] = [[...element.childNodes], [...like.childNodes]];
  wanted.slice(0, there.length).forEach((child, at) => patch(there[at], child));
  filled(element, wanted.slice(there.length));
  for (const child of there.slice(wanted.length)) child.remove();
}

/** What both have in front is left alone: a selection in it would be lost with it. */
function rewrite(/** @type {Text} */ node, /** @type {string} */ now) {
  const before = node.data;
  let same = now.startsWith(before) ? before.length : 0;
  while (same < before.length && before[same] === now[same]) same += 1;
  if (before !== now) node.replaceData(same, before.length - same, now.slice(same));
}

const drawn = new WeakMap();

/** Makes `container` show `text`; with `live` it is being written. */
export function show(
  /** @type {Element} */ container,
  /** @type {string} */ text,
  /** @type {boolean} */ live = false,
) {
  const before = drawn.get(container) ?? { text: null, sources: [] };
  if (before.text === text && before.live === live) return;
  const now = blocks(text, live);
  const sources = now.map(({ kind, open, source }) => `${kind} ${open} ${source}`);
  let same = 0;
  while (same < sources.length && sources[same] === before.sources[same]) same += 1;
  const there = [...container.children];
  now.slice(same).forEach((block, at) => {
    const old = there[same + at];
    if (old) patch(old, draw(block));
    else container.append(draw(block));
  });
  for (const old of there.slice(now.length)) old.remove();
  drawn.set(container, { text, live, sources });
}
