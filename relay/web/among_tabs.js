/**
 * Keeps a visible tab told of a stream without a cursor, over one connection for all tabs of the browser:
 * one of them reads and tells the others, and the next one reads on when it goes or is hidden.
 */

import { root, token } from "./api.js";
import { keepReading } from "./stream.js";

/** @typedef {"connecting" | "paused" | import("./stream.js").State} State */

/**
 * @param {string} path
 * @param {object} options
 * @param {number} options.silenceMs   without an event for so long nobody reads any more
 * @param {(type: string, data: any) => void} options.onEvent
 * @param {(state: State, detail?: string) => void} [options.onState]  of the tab that reads, for all
 */
export function readAmongTabs(path, { silenceMs, onEvent, onState = () => {} }) {
  let left = new AbortController();

  /** Listens, and waits to read for all tabs with the same token. */
  async function enter() {
    left.abort();
    const { signal } = (left = new AbortController());
    onState(document.hidden ? "paused" : "connecting");
    if (document.hidden) return;
    // None on plain http: there each tab reads for itself.
    const { locks } = navigator;
    const name = locks && `${path} ${root} ${await digest(token() ?? "")}`;
    if (signal.aborted) return;
    const channel = name ? new BroadcastChannel(name) : null;
    let silence = 0;
    let free = () => {};
    const listen = () => {
      clearTimeout(silence);
      silence = window.setTimeout(() => onState("away"), silenceMs);
    };
    channel?.addEventListener("message", ({ data: { state, detail, type, data } }) => {
      listen();
      if (state) onState(state, detail);
      else onEvent(type, data);
    });
    const stream = keepReading(path, {
      silenceMs,
      onEvent(type, data) {
        channel?.postMessage({ type, data });
        onEvent(type, data);
      },
      onState(state, detail) {
        // Each tab asks for itself then: who comes later would wait for one that reads no more.
        if (state === "refused") free();
        else channel?.postMessage({ state, detail });
        onState(state, detail);
      },
    });
    const lead = () => {
      if (signal.aborted) return undefined;
      clearTimeout(silence);
      stream.begin();
      window.addEventListener("online", () => stream.begin(), { signal });
      return new Promise((resolve) => signal.addEventListener("abort", (free = () => resolve(null))));
    };
    signal.addEventListener("abort", () => {
      clearTimeout(silence);
      stream.stop();
      channel?.close();
    });
    listen();
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
