/**
 * Follows one generation to its terminal event, over any number of connections, reloads and tabs:
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
 * @property {string | URL} [root] where the API lives (the page's folder)
 * @property {() => string | null} [token] gives the bearer token
 * @property {() => Promise<string>} [ticket] gives a ticket's URL, anew when refused
 * @property {string} [after] a cursor to begin after
 * @property {{save: () => any, load: (value: any) => void}} [keep] what a reload goes on from
 * @property {boolean} [share] among tabs (true)
 * @property {number} [connections] of all tabs together, by turns (4)
 * @property {number} [silenceMs] without an event a connection is dead (30 s)
 */

/** `code` is `gone`, `unauthorized`, `closed`, or `handler`: onEvent failed, of `cause`. */
export class FollowError extends Error {
  constructor(code = "", /** @type {any} */ cause = null) {
    super(`can't be followed: ${code}`, { cause });
    this.code = code;
  }
}

/**
 * Splits an event stream's text, cut anywhere, into events; their data is one line.
 * @param {(frame: {type: string, id: string, data: string}) => void} onFrame
 * @param {(milliseconds: number) => void} [onRetry]
 */
export function createParser(onFrame, onRetry) {
  let rest = "";
  return (/** @type {string} */ piece) => {
    const blocks = (rest + piece).split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = block.split(/\r?\n/).map((line) => line.split(/: ?(.*)/s, 2));
      const { event: type = "message", id = "", data, retry } = Object.fromEntries(fields);
      if (retry) onRetry?.(Number(retry));
      if (data) onFrame({ type, id, data });
    }
  };
}

/**
 * @param {string} id the generation's
 * @param {Options} options
 * @returns {{done: Promise<any>, close: () => void, readonly cursor: string}} `done`: the
 *     final generation, or a FollowError
 */
export function follow(id, options) {
  const { onEvent, onConnection: say = () => {}, token, ticket, keep, share = true } = options;
  const { connections = 4, silenceMs = 30_000, root } = options;
  const { document, navigator } = globalThis;
  const base = new URL(`v1/generations/${encodeURIComponent(id)}`, root ?? document?.baseURI).href;
  // Absent outside https and localhost: there each tab reads for itself.
  const locks = share && document ? navigator.locks : null;
  const channel = locks && new BroadcastChannel(base);
  const over = new AbortController();

  let cursor = options.after ?? "";
  let address = "";
  let retryMs = 1000;
  let failures = 0;
  let [leads, linked, hidden, atOnce] = [false, false, false, false];
  let watchdog = 0;
  let connection = new AbortController();
  let left = connection;
  let wake = () => {};
  /** What the reading tab told lately, without a gap. */
  let heard = /** @type {any[]} */ ([]);

  const rest = (/** @type {number} */ ms) =>
    new Promise((go) => {
      const timer = setTimeout((wake = () => go(clearTimeout(timer))), ms);
    });
  const stir = () => {
    connection.abort();
    wake();
  };
  const unlink = () => {
    linked = false;
    stir();
  };
  const leave = () => {
    leads = false;
    left.abort();
  };
  const end = (/** @type {any} */ outcome) => {
    over.abort(outcome);
    stir();
  };

  function give(/** @type {RelayEvent} */ event) {
    if (over.signal.aborted) return;
    if (leads) channel?.postMessage({ from: cursor, event });
    cursor = event.id || cursor;
    failures = 0;
    clearTimeout(watchdog);
    watchdog = setTimeout(unlink, silenceMs);
    try {
      onEvent(event);
    } catch (cause) {
      return end(new FollowError("handler", cause));
    }
    if (TERMINAL.has(event.type)) end(event.data.generation);
  }

  /** Takes what another tab read, from where it follows the cursor. */
  function link() {
    const at = heard.findIndex(({ from }) => from === cursor);
    if (linked !== at >= 0) unlink();
    linked = at >= 0;
    if (linked) for (const { event } of heard.splice(0).slice(at)) give(event);
  }

  /** Waits to read for all tabs. */
  function enter() {
    const { signal } = (left = new AbortController());
    const lead = () => {
      leads = !signal.aborted;
      heard = [];
      if (linked) unlink();
      return leads && new Promise((free) => signal.addEventListener("abort", free));
    };
    locks?.request(base, { signal }, lead).catch(() => {});
  }

  async function ask(/** @type {string} */ url) {
    const headers = /** @type {any} */ (cursor ? { "last-event-id": cursor } : {});
    const bearer = token?.();
    if (bearer) headers.authorization = `Bearer ${bearer}`;
    const answer = await fetch(url, { headers, cache: "no-store", signal: connection.signal });
    if (answer.status === 404) throw new FollowError("gone");
    return answer;
  }

  /** What became of it, or null. */
  async function final() {
    const answer = await ask(base);
    if (answer.status >= 500) throw answer;
    const generation = answer.ok && (await answer.json());
    return TERMINAL.has(generation.state) ? generation : null;
  }

  async function read() {
    const { signal } = connection;
    watchdog = setTimeout(stir, silenceMs);
    const turn = setInterval(async () => {
      const waiting = (await locks?.query())?.pending?.some(({ name }) => name?.startsWith(SLOT));
      if (!waiting || signal.aborted) return;
      hidden = document.hidden;
      if (hidden) leave();
      atOnce = true;
      stir();
    }, TURN_MS);
    try {
      // Where nothing comes through, the resource has the end and the text.
      const generation = failures > 4 && (await final());
      if (generation) return give({ type: generation.state, id: "", data: { generation } });
      const fresh = !address;
      address ||= ticket ? await ticket() : `${base}/events`;
      const { status, body, headers } = await ask(address);
      if (status === 204) return end(await final());
      if (status === 401 || status === 403) {
        if (fresh || !ticket) throw new FollowError("unauthorized");
        address = "";
        atOnce = true;
      }
      if (status !== 200 || !body) {
        retryMs = Math.min(1000 * Number(headers.get("retry-after")), 60_000) || retryMs;
        return;
      }
      say("open");
      const feed = createParser(
        ({ data, ...one }) => {
          if (signal.aborted) return;
          give({ ...one, data: JSON.parse(data) });
          link();
        },
        (milliseconds) => (retryMs = milliseconds),
      );
      const reader = body.getReader();
      const text = new TextDecoder();
      for (let got; !signal.aborted && !(got = await reader.read()).done;)
        feed(text.decode(got.value, { stream: true }));
    } finally {
      clearInterval(turn);
    }
  }

  /** Reads, with one of the few connections that a browser has. */
  async function connect() {
    if (!locks) return read();
    const { signal } = connection;
    const ifFree = async (/** @type {any} */ lock) => lock && (await read(), true);
    for (let n = 0; n < connections; n += 1)
      if (await locks.request(SLOT + n, { ifAvailable: true }, ifFree)) return;
    await locks.request(SLOT + Math.floor(Math.random() * connections), { signal }, read);
  }

  async function run() {
    while (!over.signal.aborted) {
      if (linked || hidden) {
        say(linked ? "shared" : "paused");
        await rest(1e9);
        continue;
      }
      if (!atOnce) say("connecting");
      clearTimeout(watchdog);
      atOnce = false;
      connection = new AbortController();
      // All else is the network's: the next one asks for what follows the cursor.
      await connect().catch((error) => error instanceof FollowError && end(error));
      if (atOnce || linked || hidden || over.signal.aborted) continue;
      say(navigator?.onLine === false ? "offline" : "waiting");
      const longer = Math.min(retryMs * 1.6 ** failures++, 10_000);
      await rest(Math.max(retryMs, longer) * (0.8 + 0.4 * Math.random()));
    }
    leave();
    clearTimeout(watchdog);
    channel?.close();
    say("ended");
    const { reason } = over.signal;
    if (reason instanceof FollowError) throw reason;
    return reason;
  }

  /** @type {(target: any, type: string, listener: any) => void} */
  const on = (target, ...what) => target?.addEventListener?.(...what, { signal: over.signal });
  on(document, "visibilitychange", () => {
    if (!hidden || document.hidden) return;
    hidden = false;
    enter();
    wake();
  });
  on(globalThis, "online", stir);
  on(globalThis, "offline", unlink);
  on(channel, "message", (/** @type {MessageEvent} */ { data }) => {
    if (leads) return;
    const last = heard.at(-1);
    if (last && data.from !== (last.event.id || last.from)) heard = [];
    heard = [...heard.slice(-200), data];
    link();
  });
  if (keep) {
    // Storage may be full, or forbidden.
    on(globalThis, "pagehide", () => {
      try {
        sessionStorage[base] = JSON.stringify({ cursor, value: keep.save() });
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
  return {
    done: run(),
    close: () => end(new FollowError("closed")),
    get cursor() {
      return cursor;
    },
  };
}
