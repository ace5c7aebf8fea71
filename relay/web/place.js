/**
 * One open place of the page: a conversation, its persona if it has one, and the generation it follows.
 *
 * It owns every request of that place and ends them all when it is closed. What it knows is rebuilt
 * from the API, so a lost connection or another tab's work leaves nothing to mend; a reload goes on from
 * what was shown, kept beside its cursor, and without that from the start.
 */

import * as api from "./api.js";
import { fileContents } from "./contents.js";
import { inTurn } from "./in_turn.js";
import { follow } from "./relay.js";
import { apply, nothing } from "./shown.js";
import { beginTimeline, noteConnection, noteEvent, pastTimeline } from "./timeline.js";

const READ_AGAIN_MS = 3000;
/** @type {Record<string, string>} */
const REFUSED = {
  unauthorized: "A valid token is needed to follow what is written.",
  gone: "It is not there any more.",
};
/** Of so many turns it is asked how they ended before anybody sees them. */
const NEWEST = 24;
/** Of a browser's six connections one is the feed's, and two are left for what is asked. */
const STREAMS = 3;
/** How much of the feed is kept while the place is being read. */
const HEARD = 50;

/**
 * @typedef {object} Live
 * @property {any} generation
 * @property {import("./shown.js").Shown} shown
 * @property {import("./timeline.js").Timeline} timeline
 * @property {import("./relay.js").Connection} connection
 * @property {boolean} stopping
 * @property {number} heardAt   when an event came last that was no heartbeat
 */

/**
 * @param {{personaId?: string, conversationId?: string, made?: any}} where  `made`: the generation that
 *   this page began it with, as it was accepted
 * @param {(what: "change" | "started" | "running" | "nobody" | "reset" | "lost" | "ended" | "unauthorized", generation?: any) => void} tell
 */
export function openPlace(where, tell) {
  const abort = new AbortController();
  const { signal } = abort;
  /** @type {{persona: any, conversation: any, live: Live | null, sending: {text: string} | null, generations: Map<string, any>, seen: Map<string, any>, timelines: Map<string, any>, versions: any[], error: any, loaded: boolean}} */
  const known = {
    persona: null,
    conversation: null,
    live: null,
    sending: null,
    generations: new Map(),
    seen: new Map(),
    timelines: new Map(),
    versions: [],
    error: null,
    loaded: false,
  };
  /** @type {ReturnType<typeof follow> | null} */
  let reader = null;
  /** What the feed told last; null: there was a gap in it. @type {any[] | null} */
  let heard = [];
  let catchingUp = false;

  const change = () => signal.aborted || tell("change");
  const { content, keep, again } = fileContents(() => known.persona, signal, change);

  /** Reads the place as it is stored; gives false when that was refused for good. */
  async function read() {
    for (;;) {
      try {
        let persona = where.personaId ? await api.persona(where.personaId, signal) : null;
        const conversationId = persona?.conversation_id ?? where.conversationId;
        const conversation = await api.conversation(conversationId, signal);
        // What ended between the two reads is not active any more, and made a version that the
        // first one did not show: nothing would tell of it later.
        if (persona) persona = await api.persona(persona.id, signal);
        const newest = known.versions[0]?.version ?? 0;
        const versions =
          persona && persona.version > newest
            ? (await api.versions(persona.id, signal)).data
            : known.versions;
        Object.assign(known, { persona, conversation, versions, loaded: true, error: null });
        return true;
      } catch (error) {
        if (signal.aborted) return false;
        known.error = error;
        if (error instanceof api.ApiError && error.status > 0 && error.status < 500) {
          if (error.status === 401 || error.status === 403) tell("unauthorized");
          change();
          return false;
        }
        change();
        await new Promise((resolve) => setTimeout(resolve, READ_AGAIN_MS));
        if (signal.aborted) return false;
      }
    }
  }

  /** Reads the place, then follows what is active in it. */
  async function refresh() {
    const before = known.live;
    if (!(await read())) return;
    const active = known.conversation.active_generation ?? known.conversation.waiting?.[0];
    const followed = known.live;
    // What began while this was read is newer than it; what is followed already stays followed.
    const keeps =
      followed &&
      (followed !== before ||
        (followed.generation.id === active?.id && !followed.shown.generation));
    if (!keeps) {
      known.live = null;
      if (active) begin(active);
    }
    change();
    look(known.conversation.turns.map((/** @type {any} */ one) => one.generation_id).slice(-NEWEST));
  }

  /** Takes what the feed tells of a generation; null: it may have left something out. */
  function hear(/** @type {any} */ generation) {
    heard = generation && heard ? [...heard.slice(-HEARD), generation] : null;
    void catchUp();
  }

  /** Reads the place again if it does not show what was heard. */
  async function catchUp() {
    // What is being read or sent may be just that.
    if (catchingUp || known.sending || !known.loaded) return;
    catchingUp = true;
    while (!signal.aborted && (heard?.some(isNews) ?? true)) {
      heard = [];
      await refresh();
    }
    heard = [];
    catchingUp = false;
  }

  /** Whether it is of this place, and not shown already. */
  function isNews(/** @type {any} */ { id, conversation_id, state }) {
    if (conversation_id !== known.conversation.id || known.live?.generation.id === id) return false;
    const { turns, waiting } = known.conversation;
    const waits = waiting.some((/** @type {any} */ one) => one.id === id);
    const isAnswered = turns.some(
      (/** @type {any} */ turn) => turn.generation_id === id && turn.role === "assistant",
    );
    if (state === "queued") return !waits && !isAnswered && !known.seen.has(id);
    return waits || !(isAnswered || known.seen.has(id) || known.generations.has(id));
  }

  /** Whether more can be told of how it ended: what it changed, why it is missing or partial. */
  function isUnexplained(/** @type {string} */ id) {
    const { turns, active_generation: active } = known.conversation;
    if (id === active?.id || known.generations.has(id)) return false;
    // A whole answer of a plain chat has nothing more to tell.
    return (
      where.personaId ||
      id === turns.at(-1)?.generation_id ||
      !turns.some(
        (/** @type {any} */ turn) =>
          turn.generation_id === id && turn.role === "assistant" && !turn.partial,
      )
    );
  }

  const explain = inTurn(async (id) => {
    try {
      const generation = await api.generation(id, signal);
      if (["queued", "running"].includes(generation.state)) return;
      known.generations.set(id, generation);
      change();
    } catch {
      // The reason is a courtesy: the turn itself is shown, marked as partial.
    }
  });

  /** Asks how these generations ended, where more can be told of that. */
  function look(/** @type {string[]} */ ids) {
    if (!known.loaded || signal.aborted) return;
    const there = new Set(known.conversation.turns.map((/** @type {any} */ one) => one.generation_id));
    for (const id of ids) if (there.has(id) && isUnexplained(id)) explain(id);
  }

  function begin(/** @type {any} */ generation) {
    reader?.close();
    const accepted = where.made?.id === generation.id ? where.made : generation;
    const live = {
      generation,
      shown: nothing(generation),
      timeline: beginTimeline(accepted, Date.now()),
      connection: /** @type {import("./relay.js").Connection} */ ("connecting"),
      stopping: false,
      heardAt: Date.now(),
    };
    known.live = live;
    let running = false;
    let idle = false;
    const mine = follow(generation.id, {
      root: api.root,
      token: api.token,
      connections: STREAMS,
      keep: {
        save: () => ({ shown: live.shown, timeline: live.timeline }),
        load: (kept) => Object.assign(live, kept),
      },
      onEvent(event) {
        const { worker } = live.shown;
        idle = event.type === "idle";
        if (event.type !== "heartbeat" && !idle) live.heardAt = Date.now();
        live.shown = apply(live.shown, event);
        if (live.shown.state === "running" && !running) tell("running");
        running ||= live.shown.state === "running";
        if (live.shown.worker === "none" && worker !== "none") tell("nobody");
        live.timeline = noteEvent(live.timeline, event, Date.now());
        if (event.type === "reset") tell("reset");
        if (live.shown.worker === "lost" && worker !== "lost") tell("lost");
        change();
      },
      onConnection(connection) {
        // The orderly end of a silent stream is no loss, unless it can't be taken up again.
        if (connection === "waiting" && idle) {
          idle = false;
          return;
        }
        live.connection = connection;
        live.timeline = noteConnection(live.timeline, connection, Date.now());
        change();
      },
    });
    reader = mine;
    tell("started", generation);
    mine.done.then(
      async (final) => {
        if (signal.aborted || reader !== mine) return;
        // A 204 ends the following without the terminal event: the resource says the same.
        if (!live.shown.generation) {
          const told = { type: final.state, data: { generation: final } };
          live.shown = apply(live.shown, told);
          live.timeline = noteEvent(live.timeline, told, Date.now());
        }
        known.seen.set(final.id, live.shown);
        known.timelines.set(final.id, live.timeline);
        for (const file of live.shown.files) {
          if (file.whole && file.sha256) keep(file.path, file.sha256, file.text);
        }
        known.generations.set(final.id, {
          ...generation,
          ...final,
          input: final.input ?? generation.input,
        });
        tell("ended", final);
        change();
        await refresh();
      },
      async (error) => {
        if (signal.aborted || reader !== mine || error.code === "closed") return;
        if (error.code === "unauthorized") tell("unauthorized");
        if (error.code === "gone") await refresh();
        else {
          known.error = new Error(REFUSED[error.code] ?? "What is written can't be shown.");
          change();
        }
      },
    );
  }

  /** The timeline of what is followed, or else of the newest that ended. */
  function timeline() {
    if (known.live) return known.live.timeline;
    const id = known.conversation?.turns.at(-1)?.generation_id;
    const ended = [...known.generations.values()].filter(({ state }) => state !== "completed");
    const newest = ended.reduce((last, { id: other }) => (other > last ? other : last), id ?? "");
    const own = known.timelines.get(newest);
    if (own || !known.generations.has(newest)) return own ?? null;
    known.timelines.set(newest, pastTimeline(known.generations.get(newest)));
    return known.timelines.get(newest);
  }

  /** Sends an input; behind an active generation it waits for its turn. Throws what the API refuses. */
  async function send(/** @type {string} */ text) {
    await ask(
      where.personaId
        ? { kind: "refine", persona_id: where.personaId, input: text }
        : {
            kind: "chat",
            conversation_id: /** @type {string} */ (where.conversationId),
            input: text,
          },
    );
  }

  /** Asks the same once more, as the kind that it was. Throws what the API refuses. */
  async function repeat(/** @type {any} */ { kind, input, conversation_id, persona_id }) {
    await ask({ kind, input, ...(persona_id ? { persona_id } : { conversation_id }) });
  }

  async function ask(/** @type {Record<string, string>} */ fields) {
    known.sending = { text: fields.input };
    change();
    try {
      await ready;
      const generation = await api.start(fields);
      known.sending = null;
      if (signal.aborted) return;
      if (known.live && !known.live.shown.generation) known.conversation.waiting.push(generation);
      else begin(generation);
    } finally {
      known.sending = null;
      change();
      void catchUp();
    }
  }

  /** Asks the followed generation to stop; its stream tells when it has. Throws what the API refuses. */
  async function stop() {
    const { live } = known;
    if (!live || live.stopping || live.shown.generation) return;
    live.stopping = true;
    change();
    try {
      await api.cancel(live.generation.id);
    } catch (error) {
      live.stopping = false;
      change();
      throw error;
    }
  }

  /** Withdraws an input that still waits for its turn. */
  async function withdraw(/** @type {string} */ id) {
    await api.cancel(id);
    known.conversation.waiting = known.conversation.waiting.filter(
      (/** @type {any} */ one) => one.id !== id,
    );
    change();
  }

  /** Other tabs and other devices may have gone on meanwhile. */
  function visibility() {
    if (!document.hidden && known.loaded) void refresh();
  }
  document.addEventListener("visibilitychange", visibility);
  const ready = refresh().then(() => void catchUp());

  return {
    known,
    look,
    refresh,
    hear,
    send,
    repeat,
    stop,
    withdraw,
    timeline,
    content,
    again,
    close() {
      abort.abort();
      reader?.close();
      document.removeEventListener("visibilitychange", visibility);
    },
  };
}
