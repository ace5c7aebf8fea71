/**
 * An owner's chats, newest first, put together from generations: a chat bears its first words, and the
 * state of its newest generation. What an application's own kind began bears its kind too.
 *
 * The API lists generations, not chats, so pages are read until enough chats are known; a read again
 * goes only as far as to what was read before.
 */

import * as api from "./api.js";

/** How many more chats are looked for each time that more are wanted. */
const AT_ONCE = 50;
/** A long chat may fill page after page. */
const PAGES_AT_ONCE = 5;
const LONGEST_TITLE = 80;
const ENDED = new Set(["completed", "failed", "cancelled", "expired"]);
const BLOCK_MARK = /^\s*(?:(?:#{1,6}|>|[-*+])\s+)+/;
const FENCE = /^\s*(?:`{3,}|~{3,})/;
const EMPHASIS =
  /(\*{2,3}|_{2,3}|~~|`+|(?<![\w*])\*|(?<!\w)_)([^\s*_~`](?:.*?[^\s*_~`])?)\1(?!\w)/g;

/** A kind as a person reads it: `weekly_report` is a “Weekly report”. */
export function kindName(/** @type {string} */ kind) {
  const words = kind.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The first line that says something, without the marks of Markdown. */
export function titleOf(/** @type {string} */ text) {
  const lines = text.split("\n", 20).filter((line) => line.trim() && !FENCE.test(line));
  const [first = text] = lines;
  const plain = first.slice(0, 400).replace(BLOCK_MARK, "").replace(EMPHASIS, "$2");
  return (plain.trim() || first).slice(0, LONGEST_TITLE);
}

/**
 * @typedef {object} Chat
 * @property {string} id
 * @property {string} title
 * @property {string} kind      of the oldest generation that is known
 * @property {string} firstId   the generation whose input is the title; "" once that is known to be the first
 * @property {string} lastId
 * @property {string} state
 * @property {string} madeAt
 */

/** @param {number} [wanted] how many chats are looked for at first */
export function chatList(wanted = AT_ONCE) {
  /** @type {Map<string, Chat>} */
  const chats = new Map();
  let newestRead = "";
  /** @type {string | null} */
  let deepest = null;
  /** One read at a time: two would not know how far the other came. */
  let reading = Promise.resolve();

  /** Takes what is told of a generation, and gives whether a chat looks different for it. */
  function note(/** @type {any} */ { id, conversation_id, persona_id, kind, input, state, created_at }) {
    if (persona_id) return false;
    const before = chats.get(conversation_id);
    const chat = before ?? {
      id: conversation_id,
      title: titleOf(input),
      kind,
      firstId: id,
      lastId: id,
      state,
      madeAt: created_at,
    };
    const isFirst = chat.firstId !== "" && id < chat.firstId;
    if (isFirst) Object.assign(chat, { title: titleOf(input), kind, firstId: id });
    // A generation gets its id before the conversation that it begins.
    if (id === chat.firstId && id.slice(4) < conversation_id.slice(4)) chat.firstId = "";
    // A state goes on only: what is told late is past.
    const goesOn = state !== chat.state && state !== "queued" && !ENDED.has(chat.state);
    const changes = id > chat.lastId || (id === chat.lastId && goesOn);
    if (changes) Object.assign(chat, { lastId: id, state, madeAt: created_at });
    chats.set(conversation_id, chat);
    return !before || isFirst || changes;
  }

  /** @param {AbortSignal} signal @param {boolean} further beyond what was read, or what is new */
  async function read(signal, further) {
    const known = further ? "" : newestRead;
    let cursor = further ? deepest : null;
    for (let pages = 0; pages < PAGES_AT_ONCE; pages += 1) {
      const page = await api.chats(cursor, signal);
      page.data.forEach(note);
      if (cursor === null) newestRead = page.data[0]?.id ?? "";
      cursor = page.next_cursor;
      if (known && page.data.at(-1)?.id <= known) return;
      deepest = cursor;
      if (cursor === null || chats.size >= wanted) return;
    }
  }

  const turn = (/** @type {AbortSignal} */ signal, /** @type {boolean} */ further) => {
    const mine = reading.then(() => read(signal, further));
    reading = mine.catch(() => {});
    return mine;
  };

  return {
    note,
    /** Reads what is new. */
    load: (/** @type {AbortSignal} */ signal) => turn(signal, false),
    /** Reads older ones. */
    loadMore(/** @type {AbortSignal} */ signal) {
      wanted = chats.size + AT_ONCE;
      return turn(signal, true);
    },
    /** Asks for the first words of the chats that began before all that was read. */
    async name(/** @type {AbortSignal} */ signal) {
      for (const chat of deepest === null ? [] : chats.values()) {
        if (!chat.firstId) continue;
        // A title is a courtesy: until it can be had, newer words stand there.
        const found = await api.conversation(chat.id, signal).catch(() => null);
        const first = found?.turns[0];
        if (first) Object.assign(chat, { title: titleOf(first.text), firstId: "" });
      }
    },
    /** Whether there are older ones. */
    get hasMore() {
      return deepest !== null;
    },
    has: (/** @type {string} */ id) => chats.has(id),
    /** The same, to be read from the start: what was deleted is left out. */
    anew: () => chatList(Math.max(chats.size, AT_ONCE)),
    all: () => [...chats.values()].sort((one, other) => (one.lastId < other.lastId ? 1 : -1)),
  };
}
