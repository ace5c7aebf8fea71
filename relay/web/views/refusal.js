/**
 * Why something was not done, and after how long it may be tried again: told once, counted down in silence.
 */

import { element, setText } from "../element.js";

/**
 * @param {string} testId
 * @param {() => void} onChange called when trying again is allowed anew
 */
export function refusal(testId, onChange) {
  const why = element("span", {});
  // A screen reader hears the reason once, and no number every second.
  const wait = element("span", { class: "refusal-wait", "aria-hidden": "true" });
  const node = element(
    "p",
    { class: "trouble", role: "alert", hidden: true, data: { testid: testId } },
    why,
    wait,
  );
  let until = 0;
  let timer = 0;

  function count() {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left > 0) setText(wait, ` Again in ${left} s.`);
    else if (until > 0) clear();
  }

  function clear() {
    clearInterval(timer);
    until = 0;
    node.hidden = true;
    setText(why, "");
    setText(wait, "");
    onChange();
  }

  return {
    node,
    clear,
    /** Whether it must be waited. */
    waits: () => until > Date.now(),
    /** `undone` says first what was not done. */
    show(/** @type {any} */ error, undone = "") {
      const after = error.status === 429 ? (error.retryAfter ?? 0) : 0;
      node.classList.toggle("is-limit", after > 0);
      node.hidden = false;
      setText(why, `${undone} ${error.message}`.trim());
      clearInterval(timer);
      until = after > 0 ? Date.now() + after * 1000 : 0;
      if (until > 0) timer = setInterval(count, 1000);
      setText(wait, "");
      count();
      onChange();
    },
  };
}
