/**
 * The box to write in: Enter sends, Shift+Enter breaks the line, Esc or the button stops. Above it stands
 * what was refused of all that was asked in this place. What is typed stays in the place where it was typed.
 */

import { element, icon, setText } from "../element.js";
import { remember, remembered } from "../kept.js";
import { refusal } from "./refusal.js";

/**
 * @param {object} hooks
 * @param {(text: string) => Promise<void>} hooks.onSend   what it throws is shown, and the text stays
 * @param {() => void} hooks.onStop
 * @param {() => void} hooks.onWait   what must be waited for has changed
 */
export function composer({ onSend, onStop, onWait }) {
  const box = element("textarea", {
    rows: 1,
    maxlength: 100_000,
    dir: "auto",
    "aria-label": "Message",
    data: { testid: "composer" },
  });
  const trouble = refusal("composer-error", () => {
    fit();
    onWait();
  });
  const stop = element(
    "button",
    {
      type: "button",
      class: "button stop",
      hidden: true,
      title: "Stop (Esc)",
      "aria-label": "Stop",
      data: { testid: "stop" },
      on: { click: onStop },
    },
    icon("stop"),
    element("span", { text: "Stop" }),
  );
  const label = element("span", { text: "Send" });
  const sendButton = element(
    "button",
    { type: "submit", class: "button primary", data: { testid: "send" } },
    icon("send"),
    label,
  );
  const form = element(
    "form",
    { class: "composer" },
    trouble.node,
    element(
      "div",
      { class: "composer-box" },
      box,
      element("div", { class: "composer-actions" }, stop, sendButton),
    ),
  );
  /** The place whose words are on their way. @type {string | null} */
  let sending = null;
  let active = false;
  let place = "";

  const draftOf = (/** @type {string} */ where) => `relay-draft ${where}`;
  const sentOf = (/** @type {string} */ where) => `relay-sent ${where}`;
  const fit = () => {
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight}px`;
    sendButton.disabled = sending !== null || trouble.waits() || box.value.trim() === "";
    // Beside Stop, Send is there only for who has something to add.
    sendButton.hidden = active && box.value.trim() === "";
  };

  function write(/** @type {string} */ text) {
    box.value = text;
    remember(draftOf(place), text);
  }

  async function submit() {
    const text = box.value.trim();
    if (text === "" || sending !== null || trouble.waits()) return;
    if (navigator.onLine === false) {
      trouble.show(new Error("You are offline: it was not sent, and stays here."));
      return;
    }
    const typed = box.value;
    const from = (sending = place);
    // Until it is accepted: a reload would take it along.
    remember(sentOf(from), typed);
    write("");
    trouble.clear();
    try {
      await onSend(text);
    } catch (error) {
      const since = remembered(draftOf(from));
      const unsent = since ? `${typed}\n${since}` : typed;
      if (from === place) write(unsent);
      else remember(draftOf(from), unsent);
      trouble.show(error, from === place ? "Not sent." : "Not sent, it stays where it was written.");
    } finally {
      sending = null;
      remember(sentOf(from), "");
      fit();
    }
  }

  box.addEventListener("input", () => {
    remember(draftOf(place), box.value);
    fit();
  });
  box.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    // An input method's own Enter chooses a word, it sends nothing.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    void submit();
  });
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    void submit();
  });
  fit();

  return {
    node: form,
    focus: () => box.focus({ preventScroll: true }),
    /** Shows what was typed in this place and not sent. */
    open(/** @type {string} */ where) {
      place = where;
      const unknown = sending === where ? null : remembered(sentOf(where));
      const draft = remembered(draftOf(where));
      box.value = [unknown, draft].filter(Boolean).join("\n");
      if (!unknown) return;
      // Sent once more in the same words it makes nothing twice.
      remember(sentOf(where), "");
      write(box.value);
    },
    /** The open place is known by this name from now on; what is typed in it goes along. */
    rename(/** @type {string} */ where) {
      const typed = box.value;
      write("");
      place = where;
      write(typed);
    },
    /** Whether a limit says to wait. */
    waits: trouble.waits,
    /** Shows what was refused, and says first what was not done for it. */
    refuse: trouble.show,
    /** Forgets what was refused, but not that it must be waited. */
    settle: () => trouble.waits() || trouble.clear(),
    /** @param {{active: boolean, stopping: boolean, prompt: string}} now */
    update(now) {
      active = now.active;
      stop.hidden = !now.active;
      stop.disabled = now.stopping;
      setText(label, now.active ? "Send next" : "Send");
      // Narrow pages show the icon alone.
      sendButton.setAttribute("aria-label", label.textContent ?? "");
      if (box.placeholder !== now.prompt) box.placeholder = now.prompt;
      fit();
    },
  };
}
