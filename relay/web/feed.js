/**
 * Tells a visible tab what begins, changes, ends and is deleted for its owner (`/v1/feed`, protocol §4).
 *
 * The feed has no cursor: after a gap comes a `snapshot`, and who hears one reads anew what it shows.
 */

import { readAmongTabs } from "./among_tabs.js";

/** Three heartbeats of the relay. */
const SILENCE_MS = 30_000;

/** @param {(type: string, data: any) => void} onEvent */
export function watchFeed(onEvent) {
  return readAmongTabs("v1/feed", {
    silenceMs: SILENCE_MS,
    onEvent: (type, data) => type !== "heartbeat" && onEvent(type, data),
  });
}
