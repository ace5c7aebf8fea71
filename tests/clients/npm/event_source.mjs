/** Follows each URL with one library until that library stops by itself; prints what it was told. */

import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSource } from "eventsource";
import { EventSource as UndiciEventSource } from "undici";

import { answer, wanted } from "./harness.mjs";

const NAMES = [
  "status", "token", "file_delta", "file", "skill", "notice", "reset", "heartbeat", "idle",
  "completed", "failed", "cancelled", "expired",
];
const TERMINAL = new Set(["completed", "failed", "cancelled", "expired"]);

/** A standard EventSource: it reconnects until it is answered 204, then it is closed. */
const standard = (Implementation) => (url) =>
  new Promise((resolve) => {
    const events = [];
    const source = new Implementation(url);
    for (const name of NAMES) {
      source.addEventListener(name, (event) => events.push([event.lastEventId, name, event.data]));
    }
    source.addEventListener("error", () => {
      if (source.readyState === 2) resolve({ events, ended: "closed" });
    });
  });

/** fetch-event-source, as its README says: an end that the app did not expect is thrown, and retried. */
async function withFetch(url) {
  const events = [];
  const enough = new AbortController();
  await fetchEventSource(url, {
    signal: enough.signal,
    openWhenHidden: true,
    onmessage({ id, event, data }) {
      // `retry:` comes as a message without a name.
      if (event) events.push([id, event, data]);
      if (TERMINAL.has(event)) enough.abort();
    },
    onclose() {
      throw new Error("the stream ended before its terminal event");
    },
  });
  return { events, ended: "aborted" };
}

const LIBRARIES = {
  eventsource: standard(EventSource),
  undici: standard(UndiciEventSource),
  "fetch-event-source": withFetch,
};

// fetch-event-source wants a page around it.
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
globalThis.window = globalThis;

// The reconnect timers of some libraries don't keep Node alive.
setInterval(() => {}, 1000);

const { library, urls } = await wanted();
answer(await Promise.all(urls.map(LIBRARIES[library])));
