/**
 * Shows a safe part of Markdown: paragraphs, headings, lists, quotes, code, rules, bold and italic.
 *
 * The text becomes text nodes and nothing else: no HTML, no links, no images, whatever the model wrote.
 * What is not understood is shown as it was written. `blocks` is pure; `show` changes only what
 * differs, so that a stream adds to its last block, and what is selected there stays so.
 */

import { element } from "./element.js";

/**
 * @typedef {{depth: number, ordered: boolean, number: number, text: string}} Item
 * @typedef {{kind: "paragraph" | "quote" | "code" | "rule", text: string, language?: string, source: string}
 *   | {kind: "heading", level: number, text: string, source: string}
 *   | {kind: "list", items: Item[], source: string}} Block
 */

// However far it is indented: it may belong to an item of a list.
const FENCE = /^([ \t]*)(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}>\s?(.*)$/;

/** @param {string} text @returns {Block[]} */
export function blocks(text) {
  const lines = text.split("\n");
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
        } else if (startsAnother(lines[at])) break;
        else items[items.length - 1].text += `\n${lines[at].trim()}`;
      }
      block = { kind: "list", items };
    } else {
      at += 1;
      while (at < lines.length && lines[at].trim() !== "" && !startsAnother(lines[at])) at += 1;
      block = { kind: "paragraph", text: lines.slice(start, at).join("\n") };
    }
    block.source = lines.slice(start, at).join("\n");
    found.push(block);
  }
  return found;
}

function startsAnother(/** @type {string} */ line) {
  return (
    FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line)
  );
}

// Emphasis opens and closes at a word, never inside one: snake_case and 2 * 3 * 4 stay as they are.
const INLINE =
  /(`+)(.+?)\1|\*\*(?=\S)(.+?\S?)\*\*|(?<![\w*])\*(?=[^\s*])(.+?)(?<=[^\s*\\])\*(?![\w*])|(?<!\w)_(?=\S)([^_]+?)(?<=[^\s\\])_(?!\w)|\\([\\`*_{}[\]()#+\-.!>~|])/s;

// A longer run of text is shown as it is: unclosed marks cost the square of the length.
const LONGEST_INLINE = 5000;

/** @param {string} text @returns {(Node | string)[]} */
function inline(text) {
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

/** @param {Item[]} items @param {number} from @param {number} depth @returns {[Element, number]} */
function list(items, from, depth) {
  const first = items[from];
  const made = element(
    first.ordered ? "ol" : "ul",
    first.ordered && first.number !== 1 ? { start: first.number } : {},
  );
  let at = from;
  while (at < items.length && items[at].depth >= depth) {
    if (items[at].depth > depth && made.lastElementChild) {
      const [nested, next] = list(items, at, items[at].depth);
      made.lastElementChild.append(nested);
      at = next;
      continue;
    }
    if (items[at].ordered !== first.ordered) break;
    made.append(element("li", {}, ...inline(items[at].text)));
    at += 1;
  }
  return [made, at];
}

/** @param {Block} block @returns {Element} */
function draw(block) {
  switch (block.kind) {
    case "heading":
      // Below the page's own headings, so that the outline stays true.
      return element(
        `h${Math.min(block.level + 2, 6)}`,
        { class: `level-${block.level}` },
        ...inline(block.text),
      );
    case "code":
      return element(
        "pre",
        { tabindex: 0 },
        element("code", { text: block.text, data: { language: block.language } }),
      );
    case "quote":
      return element("blockquote", {}, ...inline(block.text));
    case "rule":
      return element("hr");
    case "list": {
      const whole = element("div", { class: "lists" });
      for (let at = 0; at < block.items.length;) {
        const [made, next] = list(block.items, at, block.items[at].depth);
        whole.append(made);
        at = next;
      }
      return whole;
    }
    default:
      return element("p", {}, ...inline(block.text));
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
    const [before, now] = [old.data, /** @type {Text} */ (made).data];
    if (now.startsWith(before)) old.appendData(now.slice(before.length));
    else old.data = now;
    return;
  }
  const [element, like] = [/** @type {Element} */ (old), /** @type {Element} */ (made)];
  for (const { name } of [...element.attributes])
    if (!like.hasAttribute(name)) element.removeAttribute(name);
  for (const { name, value } of like.attributes)
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  const [there, wanted] = [[...element.childNodes], [...like.childNodes]];
  wanted.forEach((child, at) => (there[at] ? patch(there[at], child) : element.append(child)));
  for (const child of there.slice(wanted.length)) child.remove();
}

const drawn = new WeakMap();

/** Makes `container` show `text`. */
export function show(/** @type {Element} */ container, /** @type {string} */ text) {
  const before = drawn.get(container) ?? { text: null, sources: [] };
  if (before.text === text) return;
  const now = blocks(text);
  const sources = now.map((block) => `${block.kind} ${block.source}`);
  let same = 0;
  while (same < sources.length && sources[same] === before.sources[same]) same += 1;
  const there = [...container.children];
  now.slice(same).forEach((block, at) => {
    const old = there[same + at];
    if (old) patch(old, draw(block));
    else container.append(draw(block));
  });
  for (const old of there.slice(now.length)) old.remove();
  drawn.set(container, { text, sources });
}
