/**
 * The middle pane: the turns, the one being written, and how the others ended.
 */

import { element, icon, reconcile, setText } from "../element.js";
import { show } from "../markdown.js";
import { activity, reason } from "../transcript.js";

const CLOSE_TO_END_PX = 80;
const AT_END_PX = 2;

/**
 * @param {object} hooks
 * @param {(entry: import("../transcript.js").Entry) => void} hooks.onRetry
 * @param {(id: string) => void} hooks.onWithdraw
 * @param {(path: string) => void} hooks.onOpenFile
 * @param {(ids: string[]) => void} hooks.onSight   the generations whose turns came into sight
 */
export function conversationView({ onRetry, onWithdraw, onOpenFile, onSight }) {
  const turns = element("ol", { class: "turns", data: { testid: "turns" } });
  const hint = element("p", { class: "hint empty", hidden: true });
  const scroller = element(
    "div",
    { class: "scroller", tabindex: 0, role: "region", "aria-label": "Conversation" },
    hint,
    turns,
  );
  const toEnd = element(
    "button",
    {
      type: "button",
      class: "button to-end",
      hidden: true,
      "aria-label": "Go to the newest words",
      on: { click: () => follow(true) },
    },
    icon("down"),
  );
  let sticks = true;
  let top = 0;

  const below = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
  function follow(force = false) {
    if (force) sticks = true;
    if (sticks) scroller.scrollTop = scroller.scrollHeight;
    toEnd.hidden = sticks;
  }
  scroller.addEventListener(
    "scroll",
    () => {
      // Hidden behind another pane it has no place.
      if (scroller.clientHeight === 0) return;
      // Only a person scrolls up: what opens below takes its height in several steps.
      const isUp = scroller.scrollTop < top;
      if (below() < (isUp ? AT_END_PX : CLOSE_TO_END_PX)) sticks = true;
      else if (isUp) sticks = false;
      top = scroller.scrollTop;
      toEnd.hidden = sticks;
    },
    { passive: true },
  );
  scroller.addEventListener(
    "wheel",
    (/** @type {WheelEvent} */ { deltaY, ctrlKey }) => {
      // The wheel turns before it scrolls: a word that comes between must not call it back.
      if (deltaY < 0 && !ctrlKey && scroller.scrollTop > 0) sticks = false;
    },
    { passive: true },
  );

  const sight = new IntersectionObserver(
    (entries) => {
      const seen = entries.filter((one) => one.isIntersecting).map(({ target }) => target);
      onSight(seen.map((turn) => /** @type {HTMLElement} */ (turn).dataset.generation ?? ""));
    },
    { root: scroller, rootMargin: "50%" },
  );

  // What is below may take some of its height.
  new ResizeObserver(() => follow()).observe(scroller);

  /** @param {import("../transcript.js").Entry} entry */
  function create(entry) {
    const common = { data: { generation: entry.generationId } };
    if (entry.role === "outcome") {
      const why = element("p", {});
      const retry = element(
        "button",
        { type: "button", class: "button small", data: { testid: "retry" } },
        icon("retry"),
        "Try again",
      );
      const made = element("li", { ...common, class: "turn outcome" }, why, retry);
      return Object.assign(made, { parts: { why, retry } });
    }
    // Sight has the bubble's place and colour.
    const who = element("p", { class: entry.role === "assistant" ? "who" : "announcer" });
    const body = element("div", { class: "words", data: { testid: "words" } });
    if (entry.role !== "assistant") {
      body.dir = "auto";
      const mark = element("span", { class: "badge", text: "waits for its turn" });
      const withdraw = element("button", {
        type: "button",
        class: "quiet small",
        text: "Withdraw",
        data: { testid: "withdraw" },
      });
      const waiting = element("p", { class: "waiting", hidden: true }, mark, withdraw);
      return Object.assign(element("li", { ...common, class: "turn said" }, who, body, waiting), {
        parts: { who, body, waiting, mark, withdraw },
      });
    }
    const status = element("p", { class: "activity", data: { testid: "activity" } });
    const work = element("ul", { class: "work", data: { testid: "work" } });
    const copy = element(
      "button",
      {
        type: "button",
        class: "quiet small copy",
        title: "Copy the text",
        data: { testid: "copy" },
      },
      icon("copy"),
      element("span", { text: "Copy" }),
    );
    const partial = element("p", {
      class: "badge partial",
      text: "partial",
      title: "The answer ended before its time",
      hidden: true,
      data: { testid: "partial" },
    });
    const made = element(
      "li",
      { ...common, class: "turn answer" },
      who,
      body,
      work,
      status,
      element("div", { class: "turn-foot" }, partial, copy),
    );
    const parts = { who, body, work, status, copy, partial, text: "" };
    copy.addEventListener("click", async () => {
      const done = await navigator.clipboard.writeText(parts.text).then(
        () => "Copied",
        () => "Not copied: the browser refused",
      );
      setText(copy.lastElementChild, done);
      setTimeout(() => setText(copy.lastElementChild, "Copy"), 1500);
    });
    return Object.assign(made, { parts });
  }

  /** @param {any} item @param {import("../transcript.js").Entry} entry @param {any} known @param {boolean} waits */
  function update(item, entry, known, waits) {
    const { parts } = item;
    item.dataset.testid = `turn-${entry.role}`;
    if (entry.role === "outcome") {
      setText(parts.why, reason(entry.generation));
      item.classList.toggle("calm", entry.generation.state === "cancelled");
      parts.retry.disabled = waits;
      // The second press of a double click comes when the first was accepted already.
      parts.retry.onclick = (/** @type {MouseEvent} */ { detail }) => detail > 1 || onRetry(entry);
      return;
    }
    const isAnswer = entry.role === "assistant";
    setText(parts.who, isAnswer ? known.persona?.name || "Answer" : "You");
    if (!isAnswer) {
      // What a person typed is shown as typed.
      setText(parts.body, entry.text);
      item.classList.toggle("is-waiting", entry.role === "waiting");
      const sending = entry.generationId === "sending";
      setText(parts.mark, sending ? "not sent yet" : "waits for its turn");
      parts.waiting.classList.toggle("is-sending", sending);
      parts.waiting.hidden = entry.role !== "waiting" && !sending;
      parts.withdraw.hidden = sending;
      parts.withdraw.onclick = () => onWithdraw(/** @type {string} */ (entry.generationId));
      return;
    }
    parts.text = entry.text;
    show(parts.body, entry.text, entry.live);
    item.classList.toggle("is-live", entry.live);
    item.setAttribute("aria-busy", String(entry.live));
    parts.body.classList.toggle("caret", entry.live && entry.text !== "");
    parts.body.hidden = entry.text === "";
    const doing = entry.live && known.live ? activity(known.live, Date.now()) : "";
    setText(parts.status, doing);
    parts.status.hidden = doing === "";
    parts.partial.hidden = !entry.partial || entry.text === "";
    // Plain http has no clipboard.
    parts.copy.hidden = entry.live || entry.text === "" || !navigator.clipboard;
    reconcile(
      parts.work,
      workOf(entry),
      (one) => one.key,
      (one) => workItem(one, onOpenFile),
      updateWork,
    );
    parts.work.hidden = parts.work.childElementCount === 0;
  }

  return {
    node: element("div", { class: "conversation" }, scroller, toEnd),
    /** Follows the end again, as after sending. */
    follow: () => follow(true),
    /**
     * @param {import("../transcript.js").Entry[]} entries
     * @param {any} known what the place knows
     * @param {{hint: string, waits: boolean}} now `hint` for where nothing is yet; `waits`: nothing may be
     *   tried again yet
     */
    update(entries, known, { hint: words, waits }) {
      reconcile(
        turns,
        entries,
        (entry) => entry.key,
        (entry) => {
          const turn = create(entry);
          if (entry.role !== "outcome") sight.observe(turn);
          return turn;
        },
        (item, entry) => update(item, entry, known, waits),
      );
      hint.hidden = entries.length > 0;
      setText(hint, words);
      follow();
    },
  };
}

/** The same of an answer that this page did not see being written, from its result. */
function stored(/** @type {any} */ output) {
  const changes = output?.files ?? [];
  return {
    files: changes.map((/** @type {any} */ change) => ({
      path: change.path,
      state: change.op === "delete" ? "deleted" : "written",
    })),
    skills: output?.skills ?? [],
    notices: [],
  };
}

/** What an answer did beside its words: files, skills, and what had to be mended. */
function workOf(/** @type {import("../transcript.js").Entry} */ entry) {
  const { files: touched, skills, notices } = entry.shown ?? stored(entry.generation?.output);
  // What an answer that was cut off had written changes no persona.
  const dropped = entry.partial;
  const verbs = dropped
    ? { writing: "Dropped", written: "Dropped", deleted: "Kept" }
    : { writing: "Writing", written: "Wrote", deleted: "Deleted" };
  // The line below says what is being written now.
  const files = touched.filter((/** @type {any} */ file) => dropped || file.state !== "writing");
  return [
    ...files.map((/** @type {any} */ file) => ({
      key: `file ${file.path}`,
      kind: "file",
      verb: verbs[/** @type {keyof typeof verbs} */ (file.state)],
      text: file.path,
    })),
    ...skills.map((/** @type {any} */ { requested, matched }, /** @type {number} */ index) => ({
      key: `skill ${index} ${requested}`,
      kind: matched ? "skill" : "unmatched",
      verb: matched ? "Skill" : "No skill for",
      text: matched ?? requested,
    })),
    ...notices.map((/** @type {any} */ { code, message }, /** @type {number} */ index) => ({
      key: `notice ${index} ${code}`,
      kind: "notice",
      verb: "Note",
      text: message,
    })),
  ];
}

function workItem(
  /** @type {{kind: string, text: string, verb: string}} */ one,
  /** @type {(path: string) => void} */ onOpenFile,
) {
  const verb = element("span", { class: "verb" });
  const what =
    one.kind === "file"
      ? element("button", {
          type: "button",
          class: "link",
          text: one.text,
          on: { click: () => onOpenFile(one.text) },
        })
      : element("span", { text: one.text });
  return Object.assign(
    element(
      "li",
      { class: `work-${one.kind}`, data: { testid: `work-${one.kind}` } },
      verb,
      " ",
      what,
    ),
    { verb },
  );
}

function updateWork(
  /** @type {any} */ item,
  /** @type {{key: string, kind: string, text: string, verb: string}} */ one,
) {
  setText(item.verb, one.verb);
}
