/**
 * Joins the stored turns of a conversation with what is happening now: a pure function.
 *
 * The key of an entry is its generation and role, so that an answer keeps its place on the page while
 * it is sent, streamed, and at last read back as a committed turn.
 */

import { SILENT_MS } from "./timeline.js";

/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {"user" | "assistant" | "outcome" | "waiting"} role
 * @property {string} text
 * @property {boolean} live              still being written
 * @property {boolean} partial           stopped before its end
 * @property {string | null} generationId
 * @property {string | null} createdAt
 * @property {any | null} generation     what is known of the generation itself
 * @property {import("./shown.js").Shown | null} shown   what was streamed to this page, if it was
 */

/**
 * @param {object} given
 * @param {any | null} given.conversation             as the API gave it
 * @param {{generation: any, shown: any} | null} given.live   the generation that is followed
 * @param {{text: string} | null} given.sending       an input whose generation is not known yet
 * @param {Map<string, any>} given.generations        ended generations, as far as they are known
 * @param {Map<string, any>} given.seen               what was streamed to this page, by generation
 * @returns {Entry[]}
 */
export function transcript({ conversation, live, sending, generations, seen }) {
  /** @type {Entry[]} */
  const entries = [];
  const turns = conversation?.turns ?? [];
  for (const turn of turns) {
    const id = turn.generation_id;
    const own = live?.generation.id === id;
    if (own && turn.role === "assistant") continue;
    entries.push({
      key: `${id ?? turn.id}/${turn.role}`,
      role: turn.role,
      text: turn.text,
      live: false,
      partial: turn.partial,
      generationId: id,
      createdAt: turn.created_at,
      generation: generations.get(id) ?? null,
      shown: seen.get(id) ?? null,
    });
    const answered = turns.some(
      (/** @type {any} */ other) => other.generation_id === id && other.role === "assistant",
    );
    const last = turn.role === "assistant" || !answered;
    if (last && !own && unfinished(generations.get(id))) entries.push(outcome(generations.get(id)));
  }
  for (const [id, generation] of generations) {
    // One that never started has no turn: its input would be lost with it.
    if (
      id === live?.generation.id ||
      !unfinished(generation) ||
      entries.some((entry) => entry.generationId === id)
    )
      continue;
    const later = entries.findIndex(
      (entry) => entry.generationId !== null && entry.generationId > id,
    );
    entries.splice(
      later < 0 ? entries.length : later,
      0,
      said(generation, "user"),
      outcome(generation),
    );
  }
  if (live) {
    const { generation, shown } = live;
    if (!entries.some((entry) => entry.key === `${generation.id}/user`))
      entries.push(said(generation, "user"));
    entries.push({
      ...said(generation, "assistant"),
      text: shown.text,
      live: shown.generation === null,
      partial: shown.generation !== null && shown.state !== "completed",
      shown,
    });
    if (unfinished(shown.generation)) entries.push(outcome(shown.generation));
  }
  for (const generation of conversation?.waiting ?? []) {
    if (generation.id !== live?.generation.id)
      entries.push({ ...said(generation, "user"), role: "waiting" });
  }
  if (sending) {
    entries.push({
      ...said({ id: "sending", input: sending.text, created_at: null }, "user"),
      role: live ? "waiting" : "user",
    });
  }
  return entries;
}

/** @param {any} generation @param {"user" | "assistant"} role @returns {Entry} */
function said(generation, role) {
  return {
    key: `${generation.id}/${role}`,
    role,
    text: role === "user" ? generation.input : "",
    live: false,
    partial: false,
    generationId: generation.id,
    createdAt: generation.created_at,
    generation,
    shown: null,
  };
}

/** @param {any} generation @returns {Entry} */
function outcome(generation) {
  return { ...said(generation, "user"), key: `${generation.id}/outcome`, role: "outcome" };
}

function unfinished(/** @type {any} */ generation) {
  return Boolean(generation) && ["failed", "cancelled", "expired"].includes(generation.state);
}

/** What the page says of how a generation ended, in a person's words. */
export function reason(/** @type {any} */ generation) {
  if (generation.state === "cancelled")
    return generation.output
      ? "Stopped. What was written so far is kept."
      : "Stopped. Nothing was written.";
  if (generation.state === "expired")
    return "It could not be started in time, and will not run late.";
  const why = generation.error?.message || generation.error?.code || "it failed without a reason";
  return why.charAt(0).toUpperCase() + why.slice(1);
}

const PAUSE_SECONDS = SILENT_MS / 1000;

/** What an active generation is doing at this time (milliseconds), in a person's words. */
export function activity(
  /** @type {{generation: any, shown: any, connection: string, stopping: boolean, heardAt: number}} */ live,
  /** @type {number} */ now,
) {
  const { shown, connection, stopping } = live;
  if (shown.generation) return "";
  if (stopping) return "Stopping…";
  if (connection === "offline") return "Offline. It goes on without you.";
  if (connection === "waiting") return "Connection lost. Reconnecting…";
  if (shown.worker === "lost") return "The worker was lost. Another one takes over…";
  if (shown.state === "queued") {
    return shown.worker === "none" ? "Waiting: no worker is running yet." : "Queued…";
  }
  const silent = Math.floor(Math.max((now - live.heardAt) / 1000, shown.silentSeconds));
  if (shown.silentSeconds >= PAUSE_SECONDS)
    return `The model has been silent for ${silent} s; its worker is alive…`;
  const begun = shown.text ? "Writing…" : shown.reset ? "Begun anew…" : "Thinking…";
  // A claim may follow the lease before any heartbeat tells: what came of it is told throughout.
  const lost = shown.reset === "worker_lost" ? "Begun anew: the worker was lost…" : begun;
  const doing = shown.writing ? `Writing ${shown.writing}…` : lost;
  return silent >= PAUSE_SECONDS ? `${doing} Nothing came for ${silent} s` : doing;
}
