/**
 * What changed between two texts, line by line: a pure function whose work is bounded.
 */

/** Beyond so many comparisons the middle counts as replaced: nobody reads a diff of that size. */
const MOST_COMPARISONS = 2_000_000;

/** @typedef {{kind: "same" | "added" | "removed" | "ahead", text: string}} Line */

/**
 * The lines of both, in order. With `unfinished`, `after` is still being written: old lines that follow
 * its newest one are `ahead`, since it may yet come to them, and a half line may become an old one.
 *
 * @param {string} before @param {string} after @param {boolean} [unfinished]
 * @returns {Line[]}
 */
export function diff(before, after, unfinished = false) {
  const [old, now] = [split(before), split(after)];
  const half = unfinished && !after.endsWith("\n") ? now.pop() : undefined;
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start += 1;
  let [oldEnd, nowEnd] = [old.length, now.length];
  while (oldEnd > start && nowEnd > start && old[oldEnd - 1] === now[nowEnd - 1]) {
    oldEnd -= 1;
    nowEnd -= 1;
  }
  const lines = [
    ...as("same", old.slice(0, start)),
    ...middle(old.slice(start, oldEnd), now.slice(start, nowEnd)),
    ...as("same", old.slice(oldEnd)),
  ];
  if (!unfinished) return lines;
  const last = lines.findLastIndex(({ kind }) => kind !== "removed");
  const ahead = lines.slice(last + 1).map(({ text }) => text);
  const begun = half !== undefined && Boolean(ahead[0]?.startsWith(half));
  /** @type {Line[]} */
  const newest = half === undefined ? [] : [{ kind: begun ? "same" : "added", text: half }];
  return [...lines.slice(0, last + 1), ...newest, ...as("ahead", begun ? ahead.slice(1) : ahead)];
}

/** @param {Line[]} lines */
export function changed(lines) {
  const count = (/** @type {string} */ kind) => lines.filter((line) => line.kind === kind).length;
  return { added: count("added"), removed: count("removed") };
}

function split(/** @type {string} */ text) {
  return text === "" ? [] : text.replace(/\n$/, "").split("\n");
}

/** @param {Line["kind"]} kind @param {string[]} texts @returns {Line[]} */
function as(kind, texts) {
  return texts.map((text) => ({ kind, text }));
}

/** The longest common part, by the table of all pairs. @param {string[]} old @param {string[]} now @returns {Line[]} */
function middle(old, now) {
  if (old.length * now.length > MOST_COMPARISONS)
    return [...as("removed", old), ...as("added", now)];
  const width = now.length + 1;
  const common = new Uint32Array((old.length + 1) * width);
  for (let a = old.length - 1; a >= 0; a -= 1) {
    for (let b = now.length - 1; b >= 0; b -= 1) {
      common[a * width + b] =
        old[a] === now[b]
          ? common[(a + 1) * width + b + 1] + 1
          : Math.max(common[(a + 1) * width + b], common[a * width + b + 1]);
    }
  }
  /** @type {Line[]} */
  const lines = [];
  let [a, b] = [0, 0];
  while (a < old.length || b < now.length) {
    if (a < old.length && b < now.length && old[a] === now[b]) {
      lines.push({ kind: "same", text: old[a] });
      a += 1;
      b += 1;
    } else if (
      b === now.length ||
      (a < old.length && common[(a + 1) * width + b] >= common[a * width + b + 1])
    ) {
      lines.push({ kind: "removed", text: old[a] });
      a += 1;
    } else {
      lines.push({ kind: "added", text: now[b] });
      b += 1;
    }
  }
  return lines;
}
