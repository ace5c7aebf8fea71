/**
 * What happened to one generation, and when this page learned of it: a pure reducer, bounded in size.
 *
 * Times are milliseconds since the epoch. Phases follow each other without a gap, so that their lengths
 * add up to the whole; marks are what this page heard of, newest last.
 */

/** @typedef {"queued" | "unseen" | "thinking" | "writing" | "silent" | "away" | "lost"} Phase */

/**
 * @typedef {object} Timeline
 * @property {readonly {phase: Phase, at: number}[]} phases
 * @property {readonly {at: number | null, text: string, kind: string}[]} marks  `at` is null where nobody here saw when
 * @property {number} attempt
 * @property {number} resets
 * @property {number} reconnects
 * @property {number | null} joinedAt    when this page joined one that ran already
 * @property {number | null} queuedMs    how long it waited, by the server's own times
 * @property {number | null} startedAt   when the newest attempt ran
 * @property {number | null} firstAt     its first token or piece of a file
 * @property {number | null} lastAt      the newest one
 * @property {number} aliveAt            the newest sign that somebody works on it
 * @property {number} tokens             about how many came since `firstAt`
 * @property {Phase | null} before       what went on when the connection was lost
 * @property {{at: number, state: string, generation: any} | null} end
 */

const MOST_MARKS = 60;
const MOST_PHASES = 60;
const TOGETHER_MS = 5;
/** Shorter pauses are a model's usual ones. */
export const SILENT_MS = 4000;
/** What comes so soon after joining one that runs tells of the past. */
const PAST_MS = 1000;
/** An event is a token or several; the usage says in the end how many there were. */
const CHARACTERS_A_TOKEN = 6;

const ENDS = {
  completed: "committed to the database, then told",
  failed: "failed",
  cancelled: "stopped",
  expired: "not started in time",
};

/** How long it waited for its first attempt, by the server's own times; null while it waits. */
function waited(/** @type {any} */ { created_at, started_at }) {
  const ms = Date.parse(started_at ?? "") - Date.parse(created_at ?? "");
  return Number.isNaN(ms) ? null : ms;
}

/**
 * @param {{created_at: string, state?: string, started_at?: string | null}} generation  as it is now
 * @param {number} now
 * @returns {Timeline}
 */
export function beginTimeline(generation, now) {
  // The server's clock may be ahead of this one.
  const at = Math.min(Date.parse(generation.created_at) || now, now);
  const queuedMs = waited(generation);
  const runs = generation.state === "running" && queuedMs !== null;
  /** @type {Timeline} */
  const line = {
    phases: [{ phase: "queued", at }],
    marks: [{ at, text: "queued", kind: "queued" }],
    attempt: 0,
    resets: 0,
    reconnects: 0,
    joinedAt: null,
    queuedMs,
    startedAt: null,
    firstAt: null,
    lastAt: null,
    aliveAt: now,
    tokens: 0,
    before: null,
    end: null,
  };
  return runs ? { ...enter(line, Math.min(at + queuedMs, now), "unseen"), joinedAt: now } : line;
}

/** @param {Timeline} line @param {number} at */
function isPast(line, at) {
  return line.joinedAt !== null && at - line.joinedAt < PAST_MS;
}

/** @param {Timeline} line @param {number} at @param {string} kind @param {string} text @returns {Timeline} */
function mark(line, at, kind, text) {
  const [first, ...others] = [...line.marks, { at: isPast(line, at) ? null : at, text, kind }];
  return { ...line, marks: [first, ...others.slice(1 - MOST_MARKS)] };
}

/** @param {Timeline} line @param {number} at @param {Phase} phase @returns {Timeline} */
function enter(line, at, phase) {
  if (line.phases.at(-1)?.phase === phase) return line;
  const [first, ...others] = [...line.phases, { phase, at }];
  return { ...line, phases: [first, ...others.slice(1 - MOST_PHASES)] };
}

/** With the silence that has lasted since it wrote. @param {Timeline} line @param {number} now */
function hushed(line, now) {
  const { lastAt, end } = line;
  const phase = line.phases.at(-1);
  if (phase?.phase !== "writing" || lastAt === null || end) return line;
  // What was without a connection is told as that already.
  const since = Math.max(lastAt, phase.at);
  return now - since > SILENT_MS ? enter(line, since, "silent") : line;
}

/** @param {Timeline} line @param {number} at @param {number} characters */
function wrote(line, at, characters) {
  if (isPast(line, at)) return line;
  const first = line.firstAt === null;
  const told = first && line.joinedAt === null ? mark(line, at, "first", "first token") : line;
  return {
    ...enter(hushed(told, at), at, "writing"),
    firstAt: told.firstAt ?? at,
    lastAt: at,
    tokens: told.tokens + (first ? 0 : Math.max(characters / CHARACTERS_A_TOKEN, 1)),
  };
}

/**
 * After one event of the protocol.
 * @param {Timeline} line @param {{type: string, data: any}} event @param {number} at
 * @returns {Timeline}
 */
export function noteEvent(line, { type, data }, at) {
  const silent = type === "heartbeat" && data.worker !== "alive";
  return noted(silent ? line : { ...line, aliveAt: at }, { type, data }, at, line.aliveAt);
}

/**
 * @param {Timeline} line @param {{type: string, data: any}} event @param {number} at
 * @param {number} aliveAt  the sign of life before this event
 * @returns {Timeline}
 */
function noted(line, { type, data }, at, aliveAt) {
  switch (type) {
    case "status":
      if (data.state !== "running") return line;
      if (isPast(line, at)) {
        const runs = `attempt ${data.attempt} runs`;
        return { ...mark(line, at, "running", runs), attempt: data.attempt };
      }
      return {
        ...enter(mark(line, at, "running", `attempt ${data.attempt} runs`), at, "thinking"),
        attempt: data.attempt,
        startedAt: at,
      };
    case "token":
      return wrote(line, at, data.text.length);
    case "file_delta":
      return wrote(line, at, data.text.length);
    case "file":
      return mark(line, at, "file", `${data.path} ${data.op === "delete" ? "deleted" : "checked"}`);
    case "skill":
      return mark(line, at, "skill", `skill ${data.matched ?? `${data.requested}: no match`}`);
    case "notice":
      return mark(line, at, "notice", `sent back to the model: ${data.code}`);
    case "reset": {
      const text = `begun anew: ${data.reason.replaceAll("_", " ")}`;
      if (isPast(line, at)) return { ...mark(line, at, "reset", text), attempt: data.attempt };
      const told = data.reason === "worker_lost" ? lost(line, aliveAt, at) : line;
      const anew = { resets: line.resets + 1, attempt: data.attempt, firstAt: null, lastAt: null };
      return {
        ...enter(mark(told, at, "reset", text), at, "thinking"),
        ...anew,
        joinedAt: null,
        startedAt: at,
        tokens: 0,
      };
    }
    case "heartbeat": {
      if (data.worker !== "lost" || line.phases.at(-1)?.phase === "lost") return line;
      return lost(line, aliveAt, at);
    }
    case "completed":
    case "failed":
    case "cancelled":
    case "expired": {
      const kept = data.generation.output ? "what was written is kept" : "nothing was written";
      const broken = type === "failed" || type === "cancelled";
      return {
        ...mark(hushed(line, at), at, type, broken ? `${ENDS[type]}; ${kept}` : ENDS[type]),
        end: { at, state: type, generation: data.generation },
      };
    }
    default:
      return line;
  }
}

/**
 * A worker that stopped is known to have only later: what it wrote last is the last that it did.
 * @param {Timeline} line @param {number} aliveAt @param {number} at @returns {Timeline}
 */
function lost(line, aliveAt, at) {
  const phase = line.phases.at(-1);
  if (!phase || phase.phase === "lost" || phase.phase === "away") return line;
  const last = phase.phase === "writing" ? (line.lastAt ?? aliveAt) : aliveAt;
  return enter(mark(line, at, "lost", "the worker is lost"), Math.max(last, phase.at), "lost");
}

/**
 * After the connection changed.
 * @param {Timeline} line @param {import("./relay.js").Connection} connection @param {number} at
 * @returns {Timeline}
 */
export function noteConnection(line, connection, at) {
  if (line.end) return line;
  const phase = line.phases.at(-1)?.phase ?? "queued";
  const opens = connection === "open" || connection === "shared";
  // A slow way here: the past is told from now on.
  const joinedAt = opens && line.joinedAt !== null && line.firstAt === null ? at : line.joinedAt;
  if (connection === "waiting" || connection === "offline") {
    if (phase === "away") return line;
    const text = connection === "offline" ? "offline" : "connection lost";
    return { ...enter(mark(line, at, "away", text), at, "away"), before: phase };
  }
  if (opens && phase === "away") {
    const back = mark(line, at, "back", "reconnected, after the last event");
    return {
      ...enter(back, at, line.before ?? "thinking"),
      before: null,
      joinedAt,
      reconnects: line.reconnects + 1,
    };
  }
  return { ...line, joinedAt };
}

/** A timeline of one that ended before this page saw it: what its resource still tells. */
export function pastTimeline(/** @type {any} */ generation) {
  const [created, started, finished] = ["created_at", "started_at", "finished_at"].map((name) =>
    Date.parse(generation[name] ?? ""),
  );
  let line = beginTimeline(generation, Number.MAX_SAFE_INTEGER);
  if (started) {
    const data = { state: "running", attempt: generation.attempt };
    // Nobody here saw when it wrote: no rate can be told.
    line = { ...noteEvent(line, { type: "status", data }, started), startedAt: null };
    line = { ...line, phases: [line.phases[0], { phase: "unseen", at: started }] };
  }
  const end = { type: generation.state, data: { generation } };
  return noteEvent(line, end, finished || started || created);
}

/** What goes on by now. @param {Timeline} line @param {number} now @returns {Phase} */
export function phaseNow(line, now) {
  return hushed(line, now).phases.at(-1)?.phase ?? "queued";
}

/** When it ran first: this page heard of it late, and in the end the server's own times are known. */
function ranAt(/** @type {Timeline} */ { phases: [queued, next], end }) {
  const queuedMs = waited(end?.generation ?? {});
  // Without a connection at that time, it was heard of when that was back.
  if (queuedMs === null || next?.phase === "away") return Infinity;
  return queued.at + Math.max(queuedMs, 0);
}

/** What a person is told, newest last. */
export function marksOf(/** @type {Timeline} */ line) {
  const began = line.marks.findIndex(({ kind }) => kind === "running");
  return line.marks.map((mark, index) =>
    index === began && mark.at !== null ? { ...mark, at: Math.min(mark.at, ranAt(line)) } : mark,
  );
}

/**
 * Its phases with their lengths, up to now or to the end.
 * @param {Timeline} line @param {number} now
 * @returns {{phase: Phase, ms: number}[]}
 */
export function lengths(line, now) {
  const until = line.end?.at ?? now;
  const phases = [...hushed(line, now).phases];
  const [, next] = phases;
  if (next) phases[1] = { ...next, at: Math.min(next.at, ranAt(line)) };
  return phases.map(({ phase, at }, index) => ({
    phase,
    ms: Math.max((phases[index + 1]?.at ?? until) - at, 0),
  }));
}

/**
 * The figures that a person looks for; null where there is nothing to tell yet.
 * @param {Timeline} line @param {number} now
 */
export function figures(line, now) {
  const { firstAt, startedAt, lastAt, end, joinedAt } = line;
  const queuedAt = line.phases[0].at;
  const from = firstAt ?? startedAt;
  const seconds = from && ((end?.at ?? lastAt ?? now) - from) / 1000;
  // The model's count is of the whole, of which a page that came later saw a part.
  const counted = joinedAt === null ? (end?.generation.usage?.output_tokens ?? null) : null;
  const tokens = counted ?? line.tokens;
  // Of a later attempt only what this page heard is known.
  const ranFrom = startedAt && (line.resets === 0 ? Math.min(startedAt, ranAt(line)) : startedAt);
  const seen = joinedAt === null && firstAt !== null && ranFrom !== null;
  return {
    queue:
      waited(end?.generation ?? {}) ??
      line.queuedMs ??
      (line.phases[1]?.at ?? end?.at ?? now) - queuedAt,
    // Told in one breath, both are past: the page came later and can't know.
    first: seen && firstAt - ranFrom > TOGETHER_MS ? firstAt - ranFrom : null,
    rate: seconds && seconds > 0.2 && tokens ? tokens / seconds : null,
    /** Whether the model's own count is behind the rate. */
    counted: counted !== null,
    tokens: end?.generation.usage?.output_tokens ?? null,
    whole: (end?.at ?? now) - queuedAt,
  };
}
