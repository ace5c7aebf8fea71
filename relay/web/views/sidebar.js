/**
 * The left pane: personas and chats to open, and what this tab sends with each request.
 */

import * as api from "../api.js";
import { chatList, kindName } from "../chats.js";
import { element, icon, reconcile, setText } from "../element.js";
import { moment } from "../moments.js";

/** Many changes of personas are read at once. */
const TOGETHER_MS = 300;
/** A click comes so late after the finger is gone, at most. */
const STILL_MS = 500;
/** @type {Record<string, string>} */
const DETAILS = {
  queued: "queued",
  running: "writing…",
  failed: "failed",
  expired: "expired",
  cancelled: "stopped",
};

/**
 * @param {HTMLElement} root
 * @param {{onError: (error: any) => void, onToken: () => void, onDrawn: () => void}} hooks
 */
export function sidebar(root, { onError, onToken, onDrawn }) {
  const abort = new AbortController();
  /** @type {any[]} */
  let newest = [];
  /** @type {any[]} */
  let further = [];
  /** @type {string | null} */
  let nextCursor = null;
  let chats = chatList();
  /** What is drawn: rows stay where they are while somebody points at them. */
  let drawn = { personas: /** @type {any[]} */ ([]), chats: chats.all() };
  let loaded = false;
  let still = false;
  let letGo = 0;
  let current = "";
  let loads = 0;
  /** Personas that are deleted: a slower, older answer must not bring them back. @type {Set<string>} */
  const gone = new Set();
  let soon = 0;
  let soonAnew = 0;

  const people = element("ul", { class: "places", data: { testid: "personas" } });
  const showMore = (/** @type {string} */ what, /** @type {() => Promise<void>} */ read) =>
    element("button", {
      type: "button",
      class: "quiet",
      text: "Show more",
      hidden: true,
      "aria-label": `Show more ${what}`,
      data: { testid: `more-${what}` },
      on: { click: () => void read().then(draw, onError) },
    });
  const more = showMore("personas", loadMore);
  const moreTalks = showMore("chats", async () => {
    await chats.loadMore(abort.signal);
    await chats.name(abort.signal);
  });
  const none = element("p", { class: "hint", text: "None yet. Make the first from a brief." });
  const noTalks = element("p", { class: "hint", text: "None yet." });
  const talks = element("ul", { class: "places", data: { testid: "chats" } });
  const model = element("input", {
    id: "model-name",
    value: api.model(),
    placeholder: "server’s default",
    autocomplete: "off",
    spellcheck: "false",
    data: { testid: "model-input" },
  });
  const token = element("input", {
    id: "token",
    type: "password",
    value: api.token() ?? "",
    placeholder: "only if it asks for one",
    autocomplete: "off",
    data: { testid: "token-input" },
  });
  model.addEventListener("change", () => api.setModel(model.value.trim()));
  token.addEventListener("change", () => {
    api.setToken(token.value.trim());
    // Another token may be another owner's.
    [newest, further, nextCursor, chats] = [[], [], null, chatList()];
    asked.hidden = true;
    onToken();
  });
  const asked = element("p", {
    class: "trouble",
    text: "This server asks for a valid API token.",
    hidden: true,
    data: { testid: "token-asked" },
  });
  const fields = element(
    "form",
    { on: { submit: (/** @type {Event} */ event) => event.preventDefault() } },
    element("label", { for: "model-name", text: "Model" }),
    model,
    element("label", { for: "token", text: "API token" }),
    token,
    asked,
    element("p", { class: "hint", text: "Both are forgotten when the tab is closed." }),
  );
  const settings = element(
    "details",
    { class: "settings", data: { testid: "settings" } },
    element("summary", { text: "Model and token" }),
    fields,
  );

  root.append(
    element(
      "div",
      { class: "list-head" },
      element("h2", { text: "Personas" }),
      element(
        "a",
        { class: "button small", href: "#/", data: { testid: "new-persona" } },
        icon("plus"),
        "New",
      ),
    ),
    people,
    none,
    more,
    element(
      "div",
      { class: "list-head" },
      element("h2", { text: "Chats" }),
      element(
        "a",
        { class: "button small", href: "#/chat", data: { testid: "new-chat" } },
        icon("plus"),
        "New",
      ),
    ),
    talks,
    noTalks,
    moreTalks,
    settings,
  );

  function place(/** @type {string} */ href) {
    const title = element("span", { class: "place-title" });
    const detail = element("span", { class: "place-detail" });
    const kind = element("span", { class: "place-kind", hidden: true });
    return element("li", {}, element("a", { href }, title, detail, kind));
  }

  function hold() {
    clearTimeout(letGo);
    still = true;
  }

  function release() {
    clearTimeout(letGo);
    letGo = setTimeout(() => {
      still = false;
      draw();
    }, STILL_MS);
  }

  document.addEventListener("visibilitychange", () => document.hidden || void load());
  for (const places of [people, talks]) {
    for (const type of ["pointermove", "pointerdown", "focusin"])
      places.addEventListener(type, hold, { passive: true });
    for (const type of ["pointerleave", "focusout"]) places.addEventListener(type, release);
  }

  function draw() {
    const inPlace = (/** @type {any[]} */ old, /** @type {any[]} */ now) =>
      still ? old.map((one) => now.find(({ id }) => id === one.id) ?? one) : now;
    drawn = {
      personas: inPlace(drawn.personas, [...newest, ...further]),
      chats: inPlace(drawn.chats, chats.all()),
    };
    const { personas } = drawn;
    none.hidden = !loaded || personas.length > 0;
    more.hidden = nextCursor === null;
    const fill = (
      /** @type {Element} */ item,
      /** @type {string} */ id,
      /** @type {string} */ title,
      /** @type {string} */ detail,
    ) => {
      const link = /** @type {HTMLElement} */ (item.firstElementChild);
      setText(link.children[0], title);
      setText(link.children[1], detail);
      if (id === current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    };
    reconcile(
      people,
      personas,
      (one) => one.id,
      (one) => place(`#/personas/${one.id}`),
      (item, one) => fill(item, one.id, one.name, one.version > 0 ? `v${one.version}` : "draft"),
    );
    reconcile(
      talks,
      drawn.chats,
      (one) => one.id,
      (one) => place(`#/chat/${one.id}`),
      (item, one) => {
        fill(item, one.id, one.title, DETAILS[one.state] ?? moment(one.madeAt));
        item.dataset.state = one.state;
        const kind = /** @type {HTMLElement} */ (item.querySelector(".place-kind"));
        kind.hidden = one.kind === "chat";
        setText(kind, kind.hidden ? "" : kindName(one.kind));
      },
    );
    talks.hidden = drawn.chats.length === 0;
    noTalks.hidden = !loaded || drawn.chats.length > 0;
    moreTalks.hidden = !loaded || !chats.hasMore;
    onDrawn();
  }

  async function load() {
    const mine = (loads += 1);
    try {
      const reading = chats;
      const [page] = await Promise.all([
        api.personas(null, abort.signal),
        reading.load(abort.signal),
      ]);
      if (mine !== loads) return;
      loaded = true;
      const last = page.data.at(-1)?.id;
      // Further pages stay, with what newer personas have pushed off the first.
      if (further.length > 0 && page.next_cursor)
        further = [...newest, ...further].filter(({ id }) => id < last);
      else [further, nextCursor] = [[], page.next_cursor];
      newest = present(page.data);
      draw();
      await reading.name(abort.signal);
      draw();
    } catch (error) {
      onError(error);
    }
  }

  /** Reads all chats once more, and shows the old ones until then. */
  async function loadAnew() {
    soonAnew = 0;
    const [before, anew] = [chats, chats.anew()];
    try {
      await anew.load(abort.signal);
    } catch (error) {
      onError(error);
      return;
    }
    if (chats !== before) return;
    chats = anew;
    // What was told meanwhile went to the old ones.
    await load();
  }

  async function loadMore() {
    const page = await api.personas(nextCursor, abort.signal);
    const there = new Set([...newest, ...further].map((one) => one.id));
    further = [...further, ...present(page.data).filter((one) => !there.has(one.id))];
    nextCursor = page.next_cursor;
  }

  /** Leaves out a persona that is deleted. */
  function forget(/** @type {string} */ id) {
    gone.add(id);
    [newest, further] = [present(newest), present(further)];
    draw();
  }

  function present(/** @type {any[]} */ personas) {
    return personas.filter((one) => !gone.has(one.id));
  }

  return {
    load,
    /** Marks the open place. */
    show(/** @type {string} */ id) {
      current = id;
      draw();
    },
    /** Takes how a generation does now. */
    note(/** @type {any} */ generation) {
      if (chats.note(generation)) draw();
    },
    /** Takes what the feed tells: also of a persona that is new, or at a new version. */
    hear(/** @type {any} */ generation) {
      if (chats.note(generation)) draw();
      if (generation.persona_id)
        soon ||= setTimeout(() => {
          soon = 0;
          void load();
        }, TOGETHER_MS);
    },
    forget,
    /** The name of a persona that is listed. */
    nameOf(/** @type {string} */ id) {
      return [...newest, ...further].find((one) => one.id === id)?.name;
    },
    /** Leaves out what the feed tells is deleted. */
    leaveOut(/** @type {any} */ { personas, generations }) {
      personas.forEach(forget);
      if (generations.some((/** @type {any} */ one) => chats.has(one.conversation_id)))
        soonAnew ||= setTimeout(() => void loadAnew(), TOGETHER_MS);
    },
    /** Opens the settings where a token is missing. */
    askForToken() {
      settings.open = true;
      asked.hidden = false;
      token.focus();
    },
  };
}
