/**
 * Reads the operator's feed for as long as the page is seen, once for all windows of the browser.
 */

import { readAmongTabs } from "../among_tabs.js";

/** Readings come every 2 s. */
const SILENCE_MS = 10_000;

/**
 * @param {(figures: any) => void} onFigures
 * @param {(state: import("../among_tabs.js").State, detail?: string) => void} onState
 */
export function watchFigures(onFigures, onState) {
  return readAmongTabs("v1/ops/feed", {
    silenceMs: SILENCE_MS,
    onEvent: (type, data) => type === "figures" && onFigures(data),
    onState,
  });
}
