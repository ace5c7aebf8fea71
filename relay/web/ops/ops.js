/**
 * The operator's page: one reading after the other, shown in place.
 */

import { setToken, token } from "../api.js";
import { element, setText } from "../element.js";
import { watchFigures } from "./feed.js";
import { panels } from "./panels.js";
import { duration, troubles } from "./words.js";

const TITLE = "Operations · Persona Relay";
const STATES = {
  connecting: "Connecting…",
  live: "Live",
  away: "Not reached: trying again…",
  refused: "Not admitted",
  paused: "Paused while unseen",
};

const find = (/** @type {string} */ id) =>
  /** @type {HTMLElement} */ (document.querySelector(`[data-testid="${id}"]`));
const link = find("link");
const verdict = find("verdict");
const figuresNode = find("figures");
const admit = /** @type {HTMLFormElement} */ (find("admit"));
const input = /** @type {HTMLInputElement} */ (admit.querySelector("input"));
const shown = panels();
figuresNode.append(...shown.nodes);

let state = "connecting";
let readAt = 0;

/** Says what is wrong only when that changes, so that a screen reader is left in peace. */
function judge(/** @type {any} */ figures) {
  const found = troubles(figures);
  const said = found.length === 0 ? "All is well." : found.join(" ");
  if (verdict.dataset.said === said) return;
  verdict.dataset.said = said;
  verdict.classList.toggle("is-bad", found.length > 0);
  verdict.classList.toggle("is-well", found.length === 0);
  verdict.replaceChildren(
    ...(found.length ? found : [said]).map((one) => element("span", { text: one })),
  );
  document.title = found.length ? `(${found.length}) ${TITLE}` : TITLE;
}

function showState() {
  const since = (Date.now() - readAt) / 1000;
  const old = readAt && state !== "live" ? ` (read ${duration(since)} ago)` : "";
  setText(link, STATES[/** @type {keyof typeof STATES} */ (state)] + old);
  link.dataset.state = state;
  figuresNode.classList.toggle("is-old", state !== "live");
}

const feed = watchFigures(
  (figures) => {
    readAt = Date.now();
    admit.hidden = true;
    figuresNode.hidden = false;
    judge(figures);
    shown.show(figures);
    showState();
  },
  (now, detail = "") => {
    state = now;
    if (now === "refused") {
      admit.hidden = false;
      figuresNode.hidden = true;
      setText(find("refusal"), detail);
      input.focus();
    }
    showState();
  },
);

input.value = token() ?? "";
admit.addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(input.value.trim());
  feed.again();
});
setInterval(() => state !== "live" && showState(), 1000);
