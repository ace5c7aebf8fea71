/**
 * Reads the operator's feed for as long as the page is seen.
 */

import { keepReading } from "../stream.js";

/** Readings come every 2 s. */
const SILENCE_MS = 10_000;

/** @typedef {"connecting" | "paused" | import("../stream.js").State} State */

/**
 * @param {(figures: any) => void} onFigures
 * @param {(state: State, detail?: string) => void} onState
 */
export function watchFigures(onFigures, onState) {
  const stream = keepReading("v1/ops/feed", {
    silenceMs: SILENCE_MS,
    onEvent: (type, data) => type === "figures" && onFigures(data),
    onState,
  });

  function pause() {
    stream.stop();
    onState("paused");
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : stream.begin()));
  window.addEventListener("online", stream.begin);
  stream.begin();
  return { again: stream.begin };
}
