/**
 * Assembles the page: the address decides which place is open, the place tells, the panes show.
 *
 * Addresses: `#/` a new persona, `#/personas/per_…` one of them, `#/chat` a new chat, `#/chat/con_…`
 * one of them. A reload comes back to the same place and goes on with what is being written there.
 */

import * as api from "./api.js";
import { element, setText } from "./element.js";
import { watchFeed } from "./feed.js";
import { openPlace } from "./place.js";
import { transcript } from "./transcript.js";
import { composer } from "./views/composer.js";
import { conversationView } from "./views/conversation.js";
import { heading } from "./views/heading.js";
import { inspector } from "./views/inspector.js";
import { newPersona } from "./views/new_persona.js";
import { nowhere } from "./views/nowhere.js";
import { sidebar } from "./views/sidebar.js";
import { timelineView } from "./views/timeline.js";

const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const main = byId("main");
const announcer = byId("announcer");

/** One short sentence for a screen reader, at the turns of the story and never for a token. */
function announce(/** @type {string} */ sentence) {
  setText(announcer, sentence);
}

function showModel() {
  const meta = (/** @type {string} */ name) =>
    document.querySelector(`meta[name="${name}"]`)?.getAttribute("content") ?? "";
  const banner = /** @type {HTMLElement} */ (document.querySelector(".model"));
  const name = meta("relay-model");
  if (meta("relay-demo") === "true") {
    setText(banner.children[0], "Scripted demo: no language model writes here");
    setText(
      banner.children[1],
      "Demo: the words, which a script makes. Real: all else. The queue, the worker, the database, the log, the stream to this page, and every failure of them that you care to try.",
    );
    banner.classList.add("is-demo");
    banner.hidden = false;
  } else if (name && !name.startsWith("{{")) {
    setText(banner.children[0], name);
    setText(banner.children[1], "Everything here is real, the model too.");
    banner.hidden = false;
  }
}

function showPane(/** @type {string} */ name) {
  document.body.dataset.pane = name;
  for (const button of document.querySelectorAll(".panes button")) {
    button.setAttribute(
      "aria-pressed",
      String(/** @type {HTMLElement} */ (button).dataset.pane === name),
    );
  }
}

/** @type {ReturnType<typeof openPlace> | null} */
let place = null;
let drawing = false;
/** What this tab began last, as it was accepted. @type {any} */
let made = null;

/** What the address named when the place was opened. */
let opened = addressed();
const list = sidebar(byId("list"), { onError: unread, onToken: admitted, onDrawn: drawSoon });
const files = inspector(byId("inspector"));
const title = heading({
  onDeleted(id) {
    list.forget(id);
    go("#/");
  },
  onError: (error) => refused(error, "Not done."),
});
const talk = conversationView({
  onRetry(entry) {
    if (!box.waits()) void attempt("again", "Not sent.", () => again(entry.generation));
  },
  onWithdraw: (id) => void attempt(id, "Not withdrawn.", () => place?.withdraw(id)),
  onSight: (ids) => place?.look(ids),
  onOpenFile(path) {
    files.choose(path);
    if (matchMedia("(max-width: 1079px)").matches) showPane("inspector");
  },
});
const box = composer({ onSend: send, onStop: stop, onWait: drawSoon });
const line = timelineView();
const feed = watchFeed((type, data) => {
  if (type === "generation") list.hear(data);
  else if (type === "snapshot") void list.load();
  else if (type === "deleted") list.leaveOut(data);
  else return;
  if (type !== "deleted" || isTouched(data)) place?.hear(type === "generation" ? data : null);
});
const offline = byId("offline");
/** What is being asked for: pressed once more meanwhile it is not asked twice. @type {Set<string>} */
const asking = new Set();
/** Other tabs of this page: what begins or ends in one of them is shown in all. */
const tabs = new BroadcastChannel(`page ${api.root}`);
const trouble = element("p", {
  class: "trouble banner",
  role: "alert",
  hidden: true,
  data: { testid: "trouble" },
});

function askForToken() {
  // A field in a pane that is not shown takes no focus.
  if (matchMedia("(max-width: 1079px)").matches) showPane("list");
  list.askForToken();
}

function isForbidden(/** @type {any} */ error) {
  return error.status === 401 || error.status === 403;
}

/** The list could not be read; an open place tells the same in its own way. */
function unread(/** @type {any} */ error) {
  if (error.name === "AbortError") return;
  if (!place) {
    trouble.hidden = false;
    setText(trouble, error.message);
  }
  if (isForbidden(error)) askForToken();
}

/** What was refused is shown until something else is asked; `undone` says what was not done. */
function refused(/** @type {any} */ error, /** @type {string} */ undone) {
  if (error.name === "AbortError") return;
  box.refuse(error, undone);
  if (isForbidden(error)) askForToken();
}

function admitted() {
  void feed.again();
  open();
}

/**
 * Asks for something once at a time.
 * @param {string} what @param {string} undone @param {() => any} work
 */
async function attempt(what, undone, work) {
  if (asking.has(what)) return;
  asking.add(what);
  box.settle();
  try {
    await work();
  } catch (error) {
    refused(error, undone);
  } finally {
    asking.delete(what);
  }
}

async function send(/** @type {string} */ text) {
  talk.follow();
  if (!place) {
    const generation = await api.start({ kind: "chat", input: text });
    // It may have ended before it is followed here.
    tabs.postMessage(generation.conversation_id);
    made = generation;
    const hash = `#/chat/${generation.conversation_id}`;
    if (!place) box.rename(hash);
    go(hash);
    return;
  }
  await place.send(text);
}

/** Sends what failed once more; a persona that never came to be is made anew. */
async function again(/** @type {any} */ generation) {
  const persona = place?.known.persona;
  if (!["chat", "generate", "refine"].includes(generation.kind)) return place?.repeat(generation);
  if (generation.kind !== "generate" || persona?.version !== 0) return send(generation.input);
  made = await api.createPersona(persona.name, generation.input);
  tabs.postMessage(made.conversation_id);
  go(`#/personas/${made.persona_id}`);
}

function stop() {
  const live = place?.known.live;
  if (!live || live.shown.generation) return;
  void attempt("stop", "Not stopped.", async () => {
    await place?.stop();
    // Only now is it true, and it may be over already.
    if (live === place?.known.live && !live.shown.generation) announce("Stopping.");
  });
}

function isActive() {
  const live = place?.known.live;
  return Boolean(live && !live.shown.generation);
}

function isMissing() {
  return place?.known.error?.status === 404;
}

/** The open persona's name: the list may know it before the place is loaded. */
function personaName() {
  return place?.known.persona?.name ?? list.nameOf(opened.id);
}

function called() {
  if (isMissing()) return "Not there";
  return opened.kind === "personas" ? (personaName() ?? "Persona") : "Chat";
}

function showTitle() {
  const title = `${isActive() ? "● " : ""}${called()} · Persona Relay`;
  if (document.title !== title) document.title = title;
}

/** Whether a deletion may have taken something of the open place. */
function isTouched(/** @type {any} */ { personas, generations }) {
  const { conversation, loaded } = place?.known ?? {};
  return (
    !loaded ||
    personas.includes(conversation.persona_id) ||
    generations.some((/** @type {any} */ one) => one.conversation_id === conversation.id)
  );
}

/** Draws at most once a frame, however fast the tokens come. */
function drawSoon() {
  // A hidden tab has no frames, and its title is all that is seen of it.
  if (place && document.hidden) showTitle();
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function draw() {
  if (!place) return;
  const { known } = place;
  const missing = isMissing();
  // What was deleted meanwhile is not shown any more.
  if (missing && known.loaded) return open();
  const live = known.live;
  const active = isActive();
  title.update(known, called());
  const hint = known.loaded ? "Say something to begin." : known.error ? "" : "Loading…";
  main.toggleAttribute("data-loading", !known.loaded && !known.error);
  talk.update(transcript(known), known, { hint, waits: box.waits() });
  files.update(place);
  line.update(place.timeline(), Date.now());
  if (live) list.note({ ...live.generation, state: live.shown.state });
  const prompt = active
    ? "Add something for after this"
    : opened.kind === "personas"
      ? `Ask ${personaName() ?? "the persona"} to change, or just ask`
      : "Write a message";
  box.update({ active, stopping: live?.stopping ?? false, prompt });
  trouble.hidden = !known.error;
  const why = missing ? "It is not there: deleted, or never made." : known.error?.message;
  if (known.error) setText(trouble, why);
  if (missing && box.node.contains(document.activeElement)) main.focus();
  box.node.hidden = missing;
  showTitle();
}

function told(/** @type {string} */ what, /** @type {any} */ generation) {
  if (what === "started") tabs.postMessage(generation.conversation_id);
  if (what === "running") announce("Writing begins.");
  if (what === "nobody") announce("Waiting: no worker is running yet.");
  if (what === "lost") announce("The worker was lost. Another one takes over.");
  if (what === "reset") {
    const lost = place?.known.live?.shown.reset === "worker_lost";
    announce(lost ? "The worker was lost. Writing begins anew." : "Writing begins anew.");
  }
  if (what === "ended") {
    tabs.postMessage(generation.conversation_id);
    const words = {
      completed: "The answer is complete.",
      cancelled: "Stopped.",
      failed: "It failed.",
      expired: "It could not be started in time.",
    };
    const changed = generation.output?.persona_version
      ? ` The persona is at version ${generation.output.persona_version}.`
      : "";
    announce(words[/** @type {keyof typeof words} */ (generation.state)] + changed);
    void list.load();
  }
  if (what === "unauthorized") askForToken();
  drawSoon();
}

function go(/** @type {string} */ hash) {
  if (location.hash === hash) open();
  else location.hash = hash;
}

/** What the address names; `kind` is null where that is no place of this page. */
function addressed() {
  const [, kind = "", ...rest] = location.hash.replace(/^#/, "").split("/");
  try {
    const [id = ""] = rest.map(decodeURIComponent);
    return { kind: ["", "personas", "chat"].includes(kind) ? kind : null, id };
  } catch {
    return { kind: null, id: "" };
  }
}

/** Opens what the address names. */
function open() {
  place?.close();
  place = null;
  trouble.hidden = true;
  box.settle();
  box.node.hidden = false;
  opened = addressed();
  const { kind, id } = opened;
  showPane("conversation");
  list.show(id);
  box.open(`#/${kind}/${id}`);
  if ((kind === "personas" || kind === "chat") && id) {
    const where = kind === "personas" ? { personaId: id } : { conversationId: id };
    place = openPlace({ ...where, made }, told);
    main.replaceChildren(trouble, title.node, talk.node, line.node, box.node);
    talk.follow();
    draw();
  } else if (kind === "chat") {
    main.replaceChildren(trouble, title.node, talk.node, box.node);
    const nobody = { persona: null, live: null };
    title.update(nobody, called());
    talk.update(
      [],
      nobody,
      { hint: "A plain conversation, no persona. It goes on when you close the page.", waits: false },
    );
    box.update({ active: false, stopping: false, prompt: "Write a message" });
    files.update(null);
    document.title = "New chat · Persona Relay";
  } else if (kind === null) {
    main.replaceChildren(nowhere());
    files.update(null);
    document.title = "Persona Relay";
  } else {
    const form = newPersona(
      (generation) => {
        void list.load();
        tabs.postMessage(generation.conversation_id);
        made = generation;
        go(`#/personas/${generation.persona_id}`);
      },
      (error) => error.status === 401 && askForToken(),
    );
    main.replaceChildren(trouble, form.node);
    files.update(null);
    document.title = "Persona Relay";
    form.focus();
  }
  document.body.classList.toggle("has-inspector", kind === "personas" && id !== "");
  if (main.contains(box.node)) box.focus();
  void list.load();
}

document.addEventListener("keydown", (event) => {
  // An input method's Escape is its own, and so is that of a field or a list that is not the message.
  if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
  const field = /** @type {Element} */ (event.target).closest("input, select, textarea");
  if (!field || box.node.contains(field)) stop();
});
for (const button of document.querySelectorAll(".panes button")) {
  button.addEventListener("click", () =>
    showPane(/** @type {HTMLElement} */ (button).dataset.pane ?? "conversation"),
  );
}
document.querySelector(".skip")?.addEventListener("click", (event) => {
  // The address names a place; the link must not.
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", open);
tabs.addEventListener("message", ({ data }) => {
  void list.load();
  if (data && data === place?.known.conversation?.id) void place?.refresh();
});
for (const type of ["online", "offline"]) {
  window.addEventListener(type, () => {
    offline.hidden = navigator.onLine;
    drawSoon();
  });
}
offline.hidden = navigator.onLine;
// Times pass while nothing comes.
setInterval(() => {
  if (place?.known.live && !document.hidden) drawSoon();
}, 250);
showModel();
void feed.ready.then(open);
