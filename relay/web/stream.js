/**
 * Keeps reading a stream that has no cursor: reconnects, notices silence, and says in which state it is.
 * A token goes into a header, so an EventSource would not do.
 */

import { root, token } from "./api.js";
import { createParser } from "./relay.js";

const FIRST_WAIT_MS = 500;
const LAST_WAIT_MS = 10_000;

/** @typedef {"live" | "away" | "refused"} State */

/**
 * @param {string} path
 * @param {object} options
 * @param {number} options.silenceMs   without an event for so long the connection is dead
 * @param {(type: string, data: any) => void} options.onEvent
 * @param {(state: State, detail?: string) => void} [options.onState]
 */
export function keepReading(path, { silenceMs, onEvent, onState = () => {} }) {
  let wait = FIRST_WAIT_MS;
  let timer = 0;
  /** @type {AbortController | null} */
  let reading = null;

  function begin() {
    stop();
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
    let silence = window.setTimeout(() => mine.abort(), silenceMs);
    try {
      const answer = await fetch(new URL(path, root), {
        headers: bearer ? { authorization: `Bearer ${bearer}` } : {},
        signal: mine.signal,
        cache: "no-store",
      });
      if ([401, 403].includes(answer.status)) throw new Refused((await answer.json()).detail);
      if (!answer.ok || !answer.body) throw new Error(`answered ${answer.status}`);
      const parse = createParser((frame) => {
        if (mine.signal.aborted) return;
        clearTimeout(silence);
        silence = window.setTimeout(() => mine.abort(), silenceMs);
        wait = FIRST_WAIT_MS;
        onState("live");
        onEvent(frame.type, JSON.parse(frame.data));
      });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        parse(value);
      }
    } finally {
      clearTimeout(silence);
      // An unread body would hold its connection.
      mine.abort();
    }
  }

  function stop() {
    clearTimeout(timer);
    reading?.abort();
    reading = null;
  }

  return { begin, stop };
}

class Refused extends Error {}
