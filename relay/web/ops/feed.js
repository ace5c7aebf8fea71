/**
 * Reads the operator's feed for as long as the page is seen: reconnects, notices silence, and says
 * in which state it is. A token goes into a header, so an EventSource would not do.
 */

import { root, token } from "../api.js";
import { createParser } from "../relay.js";

/** Readings come every 2 s. */
const SILENCE_MS = 10_000;
const FIRST_WAIT_MS = 500;
const LAST_WAIT_MS = 10_000;

/** @typedef {"connecting" | "live" | "away" | "refused" | "paused"} State */

/**
 * @param {(figures: any) => void} onFigures
 * @param {(state: State, detail?: string) => void} onState
 */
export function watchFigures(onFigures, onState) {
  let wait = FIRST_WAIT_MS;
  let timer = 0;
  /** @type {AbortController | null} */
  let reading = null;

  function begin() {
    clearTimeout(timer);
    reading?.abort();
    const mine = (reading = new AbortController());
    void read(mine)
      .catch((error) => error)
      .then((failure) => {
        if (reading !== mine) return;
        if (failure instanceof Refused) {
          onState("refused", failure.message);
          return;
        }
        onState("away");
        timer = window.setTimeout(begin, wait * (0.5 + Math.random() / 2));
        wait = Math.min(wait * 2, LAST_WAIT_MS);
      });
  }

  async function read(/** @type {AbortController} */ mine) {
    const bearer = token();
    let silence = window.setTimeout(() => mine.abort(), SILENCE_MS);
    try {
      const answer = await fetch(new URL("v1/ops/feed", root), {
        headers: bearer ? { authorization: `Bearer ${bearer}` } : {},
        signal: mine.signal,
        cache: "no-store",
      });
      if ([401, 403].includes(answer.status)) throw new Refused((await answer.json()).detail);
      if (!answer.ok || !answer.body) throw new Error(`answered ${answer.status}`);
      const parse = createParser((frame) => {
        if (frame.type !== "figures") return;
        clearTimeout(silence);
        silence = window.setTimeout(() => mine.abort(), SILENCE_MS);
        wait = FIRST_WAIT_MS;
        onState("live");
        onFigures(JSON.parse(frame.data));
      });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        parse(value);
      }
    } finally {
      clearTimeout(silence);
    }
  }

  function pause() {
    clearTimeout(timer);
    reading?.abort();
    reading = null;
    onState("paused");
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : begin()));
  window.addEventListener("online", begin);
  begin();
  return { again: begin };
}

class Refused extends Error {}
