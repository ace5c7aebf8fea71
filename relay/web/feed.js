/**
 * Tells a visible tab what begins, changes and ends for its owner (`/v1/feed`, protocol §4), over one
 * connection for all tabs of the browser.
 *
 * The feed has no cursor: after a gap comes a `snapshot`, and who hears one reads anew what it shows.
 */

import { root, token } from "./api.js";
import { keepReading } from "./stream.js";

/** Three heartbeats of the relay. */
const SILENCE_MS = 30_000;

/** @param {(type: string, data: any) => void} onEvent */
export function watchFeed(onEvent) {
  let left = new AbortController();

  /** Listens, and waits to read for all tabs with the same token. */
  async function enter() {
    left.abort();
    const { signal } = (left = new AbortController());
    if (document.hidden) return;
    // None on plain http: there each tab reads for itself.
    const { locks } = navigator;
    const name = locks && `feed ${root} ${await digest(token() ?? "")}`;
    if (signal.aborted) return;
    const channel = name ? new BroadcastChannel(name) : null;
    channel?.addEventListener("message", ({ data }) => onEvent(data.type, data.data));
    const stream = keepReading("v1/feed", {
      silenceMs: SILENCE_MS,
      onEvent(type, data) {
        if (type === "heartbeat") return;
        channel?.postMessage({ type, data });
        onEvent(type, data);
      },
    });
    const online = () => stream.begin();
    const lead = () => {
      if (signal.aborted) return undefined;
      stream.begin();
      window.addEventListener("online", online, { signal });
      return new Promise((free) => signal.addEventListener("abort", free));
    };
    signal.addEventListener("abort", () => {
      stream.stop();
      channel?.close();
    });
    if (name) locks.request(name, { signal }, lead).catch(() => {});
    else void lead();
  }

  document.addEventListener("visibilitychange", enter);
  return {
    /** Once it listens: what is read from then on is kept up with. */
    ready: enter(),
    /** Begins anew, as with another token. */
    again: enter,
  };
}

/** Tells owners apart without showing a token to whoever lists the locks. */
async function digest(/** @type {string} */ text) {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
