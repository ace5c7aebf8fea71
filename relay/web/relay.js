/**
 * Follows one generation until its terminal event, over any number of connections.
 *
 * One file, no dependency, for any page or program with `fetch` and streams:
 *
 *     import { follow } from "./relay.js";
 *
 *     const reader = follow("gen_01…", { onEvent: (event) => show(event) });
 *     const generation = await reader.done;
 *
 * What it guarantees. `onEvent` is called with the events of the protocol (§5) in order, each once:
 * whatever happens to the connection, the next one asks for what follows the last event that was
 * handed over. After a `reset`, everything comes again: forget what was shown. After a terminal
 * event (`completed`, `failed`, `cancelled`, `expired`) nothing comes any more and no request is made.
 *
 * Why not EventSource: it gives up for good at the first 5xx of a proxy, it can't send a bearer
 * token, and it never notices a connection that died without a word. This reader comes back after
 * all three. EventSource does work with the same URL.
 */

/** The events that end a stream for good. */
export const TERMINAL = new Set(["completed", "failed", "cancelled", "expired"]);

/** No byte for this long means a dead connection: heartbeats come every 10 s. */
const SILENCE_MS = 45_000;
const LONGEST_WAIT_MS = 10_000;

/**
 * @typedef {object} RelayEvent
 * @property {string} type   the event's name: `token`, `file`, `status`, …
 * @property {string} id     the cursor after this event; "" for events without one
 * @property {any} data      the event's JSON document
 */

/**
 * @typedef {"connecting" | "open" | "waiting" | "paused" | "ended"} Connection
 */

/** Why a generation can't be followed any further. `code` says it: `gone`, `unauthorized`, `closed`, `handler`. */
export class FollowError extends Error {
  /** @param {string} code @param {string} message @param {number} [status] */
  constructor(code, message, status = 0) {
    super(message);
    this.name = "FollowError";
    this.code = code;
    this.status = status;
  }
}

/**
 * Splits text of `text/event-stream` into events, wherever the pieces were cut.
 *
 * Line ends may be LF, CR or CRLF. An unfinished event is kept until its blank line comes, and never
 * given when it doesn't. Comments are dropped, as the standard says.
 *
 * @param {(frame: {type: string, id: string | null, data: string}) => void} onFrame
 *     `id` is null for an event that carried none.
 * @param {(milliseconds: number) => void} [onRetry]
 * @returns {(piece: string) => void} give it the decoded text, piece by piece
 */
export function createParser(onFrame, onRetry = () => {}) {
  let rest = "";
  let searched = 0;
  let swallowLineFeed = false;
  let type = "";
  let id = /** @type {string | null} */ (null);
  let data = /** @type {string[]} */ ([]);

  const takeLine = (/** @type {string} */ line) => {
    if (line === "") {
      if (data.length > 0) onFrame({ type: type || "message", id, data: data.join("\n") });
      type = "";
      id = null;
      data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "event") type = value;
    else if (field === "data") data.push(value);
    else if (field === "id" && !value.includes("\0")) id = value;
    else if (field === "retry" && /^\d+$/.test(value)) onRetry(Number(value));
  };

  return (piece) => {
    if (swallowLineFeed && piece !== "") {
      if (piece.startsWith("\n")) piece = piece.slice(1);
      swallowLineFeed = false;
    }
    rest += piece;
    const lineEnd = /\r\n|\n|\r/g;
    lineEnd.lastIndex = searched;
    let start = 0;
    for (let found = lineEnd.exec(rest); found; found = lineEnd.exec(rest)) {
      takeLine(rest.slice(start, found.index));
      start = found.index + found[0].length;
      // A CR that ends a piece may be half of a CRLF: its LF is no second line end.
      swallowLineFeed = found[0] === "\r" && start === rest.length;
    }
    rest = rest.slice(start);
    searched = rest.length;
  };
}

/**
 * Follows one generation.
 *
 * @param {string} id the generation's id
 * @param {object} options
 * @param {(event: RelayEvent) => void} options.onEvent called for every event, in order
 * @param {(connection: Connection) => void} [options.onConnection] called when the connection changes
 * @param {string | URL} [options.root] where the API lives; the page's own folder by default
 * @param {() => string | null} [options.token] gives the bearer token, if one is needed
 * @param {string} [options.after] a cursor to begin after; without one, everything comes from the start
 * @param {number} [options.silenceMs] how long a connection may be silent before it is taken for dead
 * @param {typeof fetch} [options.fetch]
 * @returns {{done: Promise<any>, close: () => void, pause: () => void, resume: () => void, readonly cursor: string}}
 *     `done` gives the final generation, or fails with a FollowError; `close` stops for good;
 *     `pause` gives the connection back and `resume` takes up where it was.
 */
export function follow(id, options) {
  const { onEvent, onConnection = () => {}, token = () => null, silenceMs = SILENCE_MS } = options;
  const request = options.fetch ?? globalThis.fetch.bind(globalThis);
  const here = options.root ?? globalThis.document?.baseURI;
  const address = (/** @type {string} */ path) =>
    new URL(`v1/generations/${encodeURIComponent(id)}${path}`, here);
  const headers = () => {
    const bearer = token();
    return /** @type {Record<string, string>} */ (
      bearer ? { authorization: `Bearer ${bearer}` } : {}
    );
  };

  let cursor = options.after ?? "";
  let retryMs = 1000;
  let failures = 0;
  let closed = false;
  let paused = false;
  let connection = new AbortController();
  let wake = () => {};

  /** The caller's own mistake ends the following, loudly: asking for the event again would loop. */
  function hand(/** @type {RelayEvent} */ event) {
    try {
      onEvent(event);
    } catch (cause) {
      throw Object.assign(new FollowError("handler", `onEvent failed at ${event.type}: ${cause}`), {
        cause,
      });
    }
  }

  /** One connection. Gives the final generation, or null when it is to be taken up again. */
  async function read() {
    connection = new AbortController();
    const { signal } = connection;
    let watchdog = 0;
    const watch = () => {
      clearTimeout(watchdog);
      watchdog = /** @type {any} */ (setTimeout(() => connection.abort(), silenceMs));
    };
    watch();
    try {
      const answer = await request(address("/events"), {
        headers: {
          ...headers(),
          accept: "text/event-stream",
          ...(cursor ? { "last-event-id": cursor } : {}),
        },
        cache: "no-store",
        signal,
      });
      if (answer.status === 204) return await final(signal);
      if (answer.status === 404)
        throw new FollowError("gone", "This generation is not there any more.", 404);
      if (answer.status === 401 || answer.status === 403) {
        throw new FollowError(
          "unauthorized",
          "A valid token is needed to follow this generation.",
          answer.status,
        );
      }
      if (answer.status !== 200 || !answer.body) {
        const wished = Number(answer.headers.get("retry-after"));
        if (wished > 0) retryMs = Math.min(wished * 1000, 60_000);
        await answer.body?.cancel();
        return null;
      }
      onConnection("open");
      /** @type {any} */
      let ended = null;
      const feed = createParser(
        (frame) => {
          if (ended || signal.aborted) return;
          const event = { type: frame.type, id: frame.id ?? "", data: JSON.parse(frame.data) };
          failures = 0;
          if (frame.id) cursor = frame.id;
          hand(event);
          if (TERMINAL.has(event.type)) ended = event.data.generation;
        },
        (milliseconds) => {
          retryMs = milliseconds;
        },
      );
      const decoder = new TextDecoder();
      const reader = answer.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return ended;
        watch();
        feed(decoder.decode(value, { stream: true }));
        if (ended) {
          await reader.cancel();
          return ended;
        }
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  /** What the generation became: asked for when the stream has nothing more to say (204). */
  async function final(/** @type {AbortSignal} */ signal) {
    const answer = await request(address(""), { headers: headers(), cache: "no-store", signal });
    if (!answer.ok) return null;
    const generation = await answer.json();
    return TERMINAL.has(generation.state) ? generation : null;
  }

  /** Waits between connections; `wake` ends it early. */
  function wait(/** @type {number} */ milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      wake = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }

  async function run() {
    for (;;) {
      if (closed) throw new FollowError("closed", "No longer followed.");
      if (paused) {
        onConnection("paused");
        await new Promise((resolve) => {
          wake = () => resolve(undefined);
        });
        continue;
      }
      onConnection("connecting");
      failures += 1;
      try {
        const generation = await read();
        if (generation) {
          onConnection("ended");
          return generation;
        }
      } catch (error) {
        if (error instanceof FollowError) throw error;
        // Anything else is the network's: the next connection asks for what follows the cursor.
      }
      if (closed || paused) continue;
      onConnection("waiting");
      const longer = retryMs * 1.6 ** Math.min(failures - 1, 8);
      await wait(
        Math.max(retryMs, Math.min(longer, LONGEST_WAIT_MS)) * (0.8 + 0.4 * Math.random()),
      );
    }
  }

  const hurry = () => wake();
  globalThis.addEventListener?.("online", hurry);
  const done = run().finally(() => globalThis.removeEventListener?.("online", hurry));
  return {
    done,
    close() {
      closed = true;
      connection.abort();
      wake();
    },
    pause() {
      paused = true;
      connection.abort();
      wake();
    },
    resume() {
      paused = false;
      wake();
    },
    get cursor() {
      return cursor;
    },
  };
}
