/**
 * Follows one generation to its end, over any number of connections, reloads and tabs:
 * `onEvent` gets the events of the protocol in order, each once. See docs/client.md.
 */

export const TERMINAL = new Set(["completed", "failed", "cancelled", "expired"]);

/** How long a stream keeps what others wait for. */
const TURN_MS = 3000;
const SLOT = "relay ";

/**
 * @typedef {{type: string, id: string, data: any}} RelayEvent `id` is the cursor after it, or ""
 * @typedef {"connecting" | "open" | "shared" | "waiting" | "offline" | "paused" | "ended"} Connection
 * @typedef {object} Options
 * @property {(event: RelayEvent) => void} onEvent
 * @property {(connection: Connection) => void} [onConnection]
 * @property {string | URL} [root] of the API (the page's folder)
 * @property {() => string | null | Promise<string | null>} [token] the bearer
 * @property {() => Promise<string>} [ticket] its URL, anew when refused
 * @property {string} [after] a cursor
 * @property {{save: () => any, load: (value: any) => void}} [keep] what a reload goes on from
 * @property {boolean} [share] among tabs (true)
 * @property {number} [connections] of all tabs (4)
 * @property {number} [silenceMs] without an event: a dead line (30 s)
 */

/** `code`: `gone`, `unauthorized`, `closed`, or `handler` (onEvent threw `cause`). */
export class FollowError extends Error {
  constructor(code = "", /** @type {any} */ cause = null) {
    super(`can't be followed: ${code}`, { cause });
    this.code = code;
  }
}

/**
 * Splits a stream's text, cut anywhere, into events of one data line.
 * @param {(frame: {type: string, id: string, data: string}) => void} onFrame
 * @param {(milliseconds: number) => void} [onRetry]
 */
export function createParser(onFrame, onRetry) {
  let rest = "";
  return (piece = "") => {
    const blocks = (rest + piece).split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = block.split(/\r?\n/).map((line) => line.split(/: ?(.*)/s, 2));
      const { event: type = "message", id = "", data, retry } = Object.fromEntries(fields);
      if (/^\d+$/.test(retry)) onRetry?.(+retry);
      if (data) onFrame({ type, id, data });
    }
  };
}

/**
 * @param {string} id @param {Options} options
 * @returns `done` gives the final generation, or a FollowError
 */
export function follow(id, options) {
  const { onEvent, onConnection, token, ticket, keep, share = true } = options;
  const { connections = 4, silenceMs = 30_000, root } = options;
  const { document, navigator } = globalThis;
  const home = root ? `${root}`.replace(/\/*$/, "/") : document?.baseURI;
  const base = new URL(`v1/generations/${encodeURIComponent(id)}`, home).href;
  // None on plain http.
  const locks = share && document ? navigator.locks : null;
  const channel = locks && new BroadcastChannel(base);
  const over = new AbortController();

  let [cursor, address] = [options.after ?? "", ""];
  let [leads, linked, hidden, atOnce] = [false, false, false, false];
  let [retryMs, failures, turn, watchdog] = [1000, 0, 0, 0];
  let connection = new AbortController();
  let request = {};
  let left = connection;
  let wake = () => {};
  /** What another tab told, without a gap. */
  let heard = /** @type {any[]} */ ([]);

  const say = (/** @type {Connection} */ now) => {
    try {
      onConnection?.(now);
    } catch (error) {
      (globalThis.reportError ?? console.error)(error);
    }
  };
  const rest = (ms = 1e9) =>
    new Promise((go) => {
      const timer = setTimeout((wake = () => go(clearTimeout(timer))), ms);
    });
  const watch = () => {
    clearTimeout(watchdog);
    // A longer timer ends at once.
    watchdog = setTimeout(stir, Math.min(silenceMs, 1e9));
  };
  const stir = () => {
    linked = false;
    connection.abort();
    wake();
  };
  const end = (/** @type {any} */ outcome) => {
    over.abort(outcome);
    stir();
  };

  function give(/** @type {RelayEvent} */ event) {
    if (over.signal.aborted) return;
    const from = cursor;
    cursor = event.id || cursor;
    if (leads) channel?.postMessage({ from, to: cursor, event });
    failures = 0;
    watch();
    try {
      onEvent(event);
    } catch (cause) {
      return end(new FollowError("handler", cause));
    }
    if (TERMINAL.has(event.type)) end(event.data.generation);
  }

  /** Takes what another tab reads from the cursor on. */
  function link() {
    const from = [...heard, { from: heard.at(-1)?.to }].findIndex((one) => one.from === cursor);
    if (linked !== from >= 0) stir();
    linked = from >= 0;
    if (linked) for (const { event } of heard.splice(0).slice(from)) give(event);
  }

  /** Waits to read for all. */
  function enter() {
    const { signal } = (left = new AbortController());
    const lead = () => {
      if (signal.aborted) return;
      if (linked) stir();
      leads = true;
      heard = [];
      return new Promise((free) => (signal.onabort = () => free((leads = false))));
    };
    locks?.request(base, { signal }, lead).catch(() => {});
  }

  async function final() {
    const answer = await fetch(base, request);
    const generation = answer.ok && (await answer.json());
    if (!TERMINAL.has(generation.state)) throw answer;
    return generation;
  }

  async function read() {
    const { signal } = connection;
    watch();
    turn = setInterval(async () => {
      const waiting = (await locks?.query())?.pending?.some(({ name }) => name?.startsWith(SLOT));
      if (!waiting || signal.aborted) return;
      if ((hidden = document.hidden)) left.abort();
      atOnce = true;
      stir();
    }, TURN_MS);
    // What the page promises may never come.
    const promised = Promise.all([token?.(), address || ticket?.()]);
    const unwanted = new Promise((_, fail) => (signal.aborted ? fail() : (signal.onabort = fail)));
    const [bearer, url] = await Promise.race([promised, unwanted]);
    const headers = {
      ...(cursor && { "last-event-id": cursor }),
      ...(bearer && { authorization: `Bearer ${bearer}` }),
    };
    request = { headers, cache: "no-store", signal };
    const known = failures > 4 && (await final().catch(() => null));
    if (known) return give({ type: known.state, id: "", data: { generation: known } });
    const renewable = ticket && address;
    address = url ? new URL(url, base).href : `${base}/events`;
    const answer = await fetch(address, request);
    const { status, body } = answer;
    if (status === 204) return end(await final());
    if (renewable && [401, 403].includes(status)) {
      [address, atOnce] = ["", true];
      return;
    }
    if (!body || !answer.headers.get("content-type")?.includes("event-stream")) throw answer;
    say("open");
    const feed = createParser(
      ({ data, ...one }) => {
        if (signal.aborted) return;
        give({ ...one, data: JSON.parse(data) });
        link();
      },
      (ms) => (retryMs = Math.max(ms, 100)),
    );
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (let got; !signal.aborted && !(got = await reader.read()).done;) feed(got.value);
  }

  /** Reads over one of few connections. */
  async function connect() {
    if (!locks) return read();
    const ifFree = async (/** @type {any} */ lock) => lock && (await read(), true);
    for (let n = 0; n < connections; n++)
      if (await locks.request(SLOT + n, { ifAvailable: true }, ifFree)) return;
    const any = SLOT + Math.floor(Math.random() * connections);
    await locks.request(any, { signal: connection.signal }, read);
  }

  async function run() {
    while (!over.signal.aborted) {
      if (linked || hidden) {
        say(linked ? "shared" : "paused");
        await rest();
        continue;
      }
      if (!atOnce) say("connecting");
      clearTimeout(watchdog);
      atOnce = false;
      connection = new AbortController();
      let askedMs = 0;
      // All else is the network's: waited out.
      await connect().catch((why) => {
        const code = why?.status === 404 ? "gone" : /^40[13]$/.test(why?.status) && "unauthorized";
        if (code) end(new FollowError(code));
        askedMs = Math.min(1000 * why?.headers?.get("retry-after"), 60_000) || 0;
      });
      clearInterval(turn);
      // An unread body would hold its connection.
      connection.abort();
      if (atOnce || linked || hidden || over.signal.aborted) continue;
      say(navigator?.onLine === false ? "offline" : "waiting");
      const longer = Math.min(retryMs * 1.6 ** failures++, 10_000);
      await rest(Math.max(askedMs, longer) * (1 + Math.random() / 4));
    }
    left.abort();
    clearTimeout(watchdog);
    channel?.close();
    say("ended");
    const { reason } = over.signal;
    if (reason instanceof FollowError) throw reason;
    return reason;
  }

  const on = (/** @type {any} */ target, /** @type {any[]} */ ...what) =>
    target?.addEventListener?.(...what, { signal: over.signal });
  on(document, "visibilitychange", () => {
    if (!hidden || document.hidden) return;
    hidden = false;
    enter();
    wake();
  });
  on(globalThis, "online", stir);
  on(globalThis, "offline", stir);
  on(channel, "message", (/** @type {MessageEvent} */ { data }) => {
    if (leads) return;
    heard = heard.at(-1)?.to === data.from ? [...heard.slice(-200), data] : [data];
    link();
  });
  if (keep) {
    on(globalThis, "pagehide", () => {
      const kept = JSON.stringify({ cursor, value: keep.save() });
      // Storage may be forbidden, or full.
      try {
        sessionStorage[base] = kept;
      } catch {}
    });
    try {
      const kept = JSON.parse(sessionStorage[base]);
      delete sessionStorage[base];
      keep.load(kept.value);
      cursor = kept.cursor;
    } catch {}
  }
  enter();
  const done = run();
  return {
    done,
    close() {
      // Nobody need await it.
      done.catch(() => {});
      end(new FollowError("closed"));
    },
    get cursor() {
      return cursor;
    },
  };
}
