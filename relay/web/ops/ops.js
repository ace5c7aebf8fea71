/**
 * The operator's page: one reading after the other, shown in place.
 */

import { setToken, token } from "../api.js";
import { element, setText } from "../element.js";
import { watchFigures } from "./feed.js";
import { panels } from "./panels.js";
import { duration, troubles } from "./words.js";

const TITLE = "Operations · Persona Relay";
/** Readings come every 2 s: without two of them nothing is known any more. */
const STALE_MS = 5000;
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

/** Says it only when it changes, so that a screen reader is left in peace. */
function say(/** @type {string[]} */ sentences, /** @type {"well" | "bad" | "unknown"} */ how) {
  const said = sentences.join(" ");
  if (verdict.dataset.said === said) return;
  verdict.dataset.said = said;
  for (const one of ["well", "bad", "unknown"]) verdict.classList.toggle(`is-${one}`, one === how);
  verdict.replaceChildren(...sentences.map((one) => element("span", { text: one })));
  const many = { well: "", bad: `(${sentences.length}) `, unknown: "(?) " };
  document.title = many[how] + TITLE;
}

function judge(/** @type {any} */ figures) {
  const found = troubles(figures);
  if (found.length > 0) say(found, "bad");
  else say(["All is well."], "well");
}

/** Takes back what was said of figures that are of the past now. */
function doubt() {
  if (readAt === 0 || (state !== "refused" && Date.now() - readAt < STALE_MS)) return;
  const since = new Date(readAt).toLocaleTimeString(undefined, { timeStyle: "medium" });
  say([`Unknown since ${since}: no reading has come from then on.`], "unknown");
  shown.doubt();
}

function showState() {
  const since = (Date.now() - readAt) / 1000;
  const old = readAt && state !== "live" ? ` (read ${duration(since)} ago)` : "";
  setText(link, STATES[/** @type {keyof typeof STATES} */ (state)] + old);
  link.dataset.state = state;
  figuresNode.classList.toggle("is-old", state !== "live");
  doubt();
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
setInterval(showState, 1000);
