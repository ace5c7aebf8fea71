/**
 * Which marks of emphasis belong together: one pass over what a block holds, whatever it holds.
 */

import { element, filled } from "../element.js";

/** More marks than these, one in the other, are text: each is an element in the one before. */
const DEEPEST = 8;
const LONGEST = 3;

/**
 * @typedef {Node | string} Part
 * @typedef {{mark: string, left: number, half: boolean, parts: Part[]}} Opened
 * @typedef {{opens: boolean, closes: boolean, half: boolean}} Ways
 */

/** How many of a closing run's marks close with an opening one: `**` is never half of another. */
function together(/** @type {number} */ opening, /** @type {number} */ closing) {
  if (opening === LONGEST) return Math.min(closing, 2);
  return closing === LONGEST || closing === opening ? opening : 0;
}

/**
 * What a run of marks may do, by what is beside it. A single star and underscores stand at a word's edge, so that
 * snake_case and 2*3*4 stay as they are; what is `half` is likely to be closed by what is still to come.
 * @param {string} run @param {string} before @param {string} after @returns {Ways}
 */
export function ways(run, before, after) {
  if (run.length > LONGEST || (run[0] === "~" && run.length !== 2))
    return { opens: false, closes: false, half: false };
  const [spaceBefore, spaceAfter] = [/^$|\s$/.test(before), /^$|^\s/.test(after)];
  const half = !/\w$/.test(before) && !/^[)\]}.,;:!?]/.test(after);
  let [wordBefore, wordAfter] = [false, false];
  if (run[0] === "_")
    [wordBefore, wordAfter] = [/[\p{L}\p{N}_]$/u.test(before), /^[\p{L}\p{N}_]/u.test(after)];
  // Of ASCII alone: a language without spaces has its marks inside what looks like a word.
  else if (run === "*") [wordBefore, wordAfter] = [/\w$/.test(before), /^\w/.test(after)];
  const closes = !spaceBefore || (spaceAfter && run !== "*" && run[0] !== "_");
  return { opens: !spaceAfter && !wordBefore, closes: closes && !wordAfter, half };
}

/** Whether a run at the end of what is being written may become the beginning of emphasis. */
export function mayOpen(/** @type {string} */ run, /** @type {string} */ before) {
  const { opens, half } = ways(run === "~" ? "~~" : run, before, "a");
  return opens && half;
}

/** Takes the parts of a block in their order, and gives them back within their emphasis. */
export function emphasis() {
  /** @type {Opened[]} */
  const opened = [{ mark: "", left: 0, half: false, parts: [] }];

  /** What was opened and not closed is the text that it is; with `half` it goes as far as it does. */
  function undone(/** @type {Opened} */ { mark, left, parts, ...one }, half = false) {
    if (!half || !one.half) return [mark.repeat(left), ...parts];
    return wrapped(mark, left, parts);
  }

  function add(/** @type {Part} */ part) {
    opened[opened.length - 1].parts.push(part);
  }

  /** Closes what it can, from the innermost, and gives how many of the marks are left. */
  function close(/** @type {string} */ mark, /** @type {number} */ left) {
    for (let at = opened.length - 1; at > 0 && left > 0; at -= 1) {
      const one = opened[at];
      if (one.mark !== mark) continue;
      for (let size; (size = together(one.left, left)) > 0;) {
        for (const inner of opened.splice(at + 1)) append(one.parts, undone(inner));
        one.parts = wrapped(mark, size, one.parts);
        one.left -= size;
        left -= size;
      }
      if (one.left === 0) {
        opened.pop();
        append(opened[at - 1].parts, one.parts);
      }
    }
    return left;
  }

  return {
    add,
    /** Whether a mark like this is open, and likely to be closed. */
    awaits: (/** @type {string} */ mark) => opened.some((one) => one.mark === mark && one.half),
    run(/** @type {string} */ run, /** @type {Ways} */ { opens, closes, half }) {
      const [mark] = run;
      const left = closes ? close(mark, run.length) : run.length;
      if (left === 0) return;
      if (!opens) return add(mark.repeat(left));
      opened.push({ mark, left, half, parts: [] });
      if (opened.length > DEEPEST + 1) {
        const [outermost] = opened.splice(1, 1);
        append(opened[0].parts, undone(outermost));
      }
    },
    /** All parts; with `half` marks that are still open go to the end. */
    end(half = false) {
      while (opened.length > 1) {
        const inner = /** @type {Opened} */ (opened.pop());
        append(opened[opened.length - 1].parts, undone(inner, half));
      }
      return joined(opened[0].parts);
    },
  };
}

/** @param {string} mark @param {number} size @param {Part[]} parts @returns {Part[]} */
function wrapped(mark, size, parts) {
  let inner = joined(parts);
  if (inner.length === 0) return [];
  if (size >= 2) inner = [filled(element(mark === "~" ? "del" : "strong"), inner)];
  return size % 2 ? [filled(element("em"), inner)] : inner;
}

/** Not by `push(...more)`: a long paragraph has more parts than a call may have arguments. */
function append(/** @type {Part[]} */ parts, /** @type {Part[]} */ more) {
  for (const part of more) parts.push(part);
}

/** Text beside text is one text. */
function joined(/** @type {Part[]} */ parts) {
  /** @type {Part[]} */
  const whole = [];
  let begun = 0;
  for (let at = 0; at <= parts.length; at += 1) {
    if (typeof parts[at] === "string") continue;
    const text = parts.slice(begun, at).join("");
    if (text !== "") whole.push(text);
    if (at < parts.length) whole.push(parts[at]);
    begun = at + 1;
  }
  return whole;
}
