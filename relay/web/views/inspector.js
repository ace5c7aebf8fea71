/**
 * The right pane: a persona's skills, its files as they are written, and the prompt derived from them.
 */

import { documents, size, skills } from "../documents.js";
import { element, icon, reconcile, setText } from "../element.js";
import { show } from "../markdown.js";

const PROMPT = "\0prompt";
const STATES = {
  committed: "",
  writing: "writing…",
  drafted: "drafted",
  written: "new",
  deleted: "deleted",
};

/** @param {HTMLElement} root */
export function inspector(root) {
  const chips = element("ul", { class: "chips", data: { testid: "skills" } });
  const noSkills = element("p", { class: "hint", text: "None yet." });
  const files = element("ul", { class: "files", data: { testid: "files" } });
  const noFiles = element("p", { class: "hint", text: "They appear here while they are written." });
  const title = element("h3", { class: "viewer-title" });
  const version = element("span", { class: "badge", hidden: true, data: { testid: "file-state" } });
  const drawnButton = element("button", {
    type: "button",
    class: "segment",
    text: "Page",
    "aria-pressed": "true",
    on: { click: () => setSource(false) },
  });
  const sourceButton = element("button", {
    type: "button",
    class: "segment",
    text: "Source",
    "aria-pressed": "false",
    data: { testid: "source" },
    on: { click: () => setSource(true) },
  });
  const ways = element(
    "div",
    { class: "segments", role: "group", "aria-label": "Show as" },
    drawnButton,
    sourceButton,
  );
  const again = element("button", {
    type: "button",
    class: "button small",
    text: "Load it again",
    hidden: true,
  });
  const pageBody = element("div", { class: "words", data: { testid: "file-page" } });
  const sourceBody = element("pre", {
    class: "source",
    tabindex: 0,
    data: { testid: "file-source" },
  });
  const body = element(
    "div",
    { class: "viewer-body", tabindex: 0, role: "region", "aria-label": "File content" },
    again,
    pageBody,
    sourceBody,
  );
  const viewer = element(
    "section",
    { class: "viewer", hidden: true, data: { testid: "viewer" } },
    element("header", { class: "viewer-head" }, title, version, ways),
    body,
  );

  root.append(
    element("section", { class: "panel" }, element("h2", { text: "Skills" }), chips, noSkills),
    element("section", { class: "panel" }, element("h2", { text: "Files" }), files, noFiles),
    viewer,
  );

  let source = false;
  /** @type {string | null} */
  let chosen = null;
  let showing = "";
  /** @type {{known: any, content: Function, again: Function} | null} */
  let place = null;

  function setSource(/** @type {boolean} */ on) {
    source = on;
    sourceButton.setAttribute("aria-pressed", String(on));
    drawnButton.setAttribute("aria-pressed", String(!on));
    draw();
  }

  function choose(/** @type {string} */ path) {
    chosen = path;
    draw();
  }

  function fileItem(/** @type {any} */ file) {
    const state = element("span", { class: "file-state" });
    const bytes = element("span", { class: "file-size" });
    const button = element(
      "button",
      {
        type: "button",
        class: "file",
        data: { testid: "file", path: file.path },
        on: { click: () => choose(file.path) },
      },
      icon(file.path === PROMPT ? "prompt" : "file"),
      element("span", {
        class: "file-path",
        text: file.path === PROMPT ? "System prompt" : file.path,
      }),
      state,
      bytes,
    );
    return Object.assign(element("li", {}, button), { button, state, bytes });
  }

  function draw() {
    if (!place) return;
    const { persona, live } = place.known;
    const shown = live?.shown ?? null;
    const own = skills(persona, shown);
    reconcile(
      chips,
      own,
      (skill) => skill.key,
      () =>
        element(
          "li",
          { class: "chip-item", data: { testid: "skill" } },
          element("span"),
          element("small"),
        ),
      (item, skill) => {
        setText(item.children[0], skill.name);
        setText(
          item.children[1],
          !skill.matched
            ? "no match"
            : skill.score === null
              ? ""
              : `${Math.round(skill.score * 100)} %`,
        );
        item.title =
          skill.matched && skill.requested && skill.requested !== skill.name
            ? `asked for as “${skill.requested}”`
            : "";
        item.classList.toggle("unmatched", !skill.matched);
        item.classList.toggle("is-new", skill.isNew);
      },
    );
    noSkills.hidden = own.length > 0;

    const all = documents(persona, shown);
    const prompt = persona?.version > 0 ? persona.derived?.system_prompt : null;
    const rows = prompt ? [...all, { path: PROMPT, state: "derived", bytes: null }] : all;
    const writing = all.findLast((file) => file.state === "writing");
    if (chosen !== null && !rows.some((row) => row.path === chosen)) chosen = null;
    const open =
      chosen ??
      writing?.path ??
      (all.some((file) => file.path === showing) ? showing : rows[0]?.path) ??
      "";
    reconcile(
      files,
      rows,
      (row) => row.path,
      fileItem,
      (item, row) => {
        setText(item.state, STATES[/** @type {keyof typeof STATES} */ (row.state)] ?? "derived");
        setText(item.bytes, size(row.bytes));
        item.button.dataset.state = row.state;
        if (row.path === open) item.button.setAttribute("aria-current", "true");
        else item.button.removeAttribute("aria-current");
      },
    );
    noFiles.hidden = rows.length > 0;
    viewer.hidden = open === "";
    if (open !== showing) body.scrollTop = 0;
    showing = open;
    if (open === PROMPT) return view("System prompt", "derived", prompt, false, null);
    const file = all.find((one) => one.path === open);
    if (!file) return;
    if (file.preview !== null && file.state !== "committed") {
      const note =
        file.state === "written" && !file.whole
          ? "the rest follows when it is done"
          : STATES[file.state];
      return view(file.path, note, file.preview, file.state === "writing", null);
    }
    const content = place.content(file.path, file.sha256);
    view(
      file.path,
      content.state === "loading" ? "loading…" : `v${persona.version}`,
      content.text,
      false,
      content.state === "failed" ? file : null,
    );
  }

  function view(
    /** @type {string} */ name,
    /** @type {string} */ state,
    /** @type {string} */ text,
    /** @type {boolean} */ live,
    /** @type {any} */ failed,
  ) {
    setText(title, name);
    setText(version, failed ? "could not be loaded" : state);
    version.hidden = !failed && state === "";
    again.hidden = !failed;
    again.onclick = () => place?.again(failed.path, failed.sha256);
    const markdown = name.endsWith(".md");
    const asSource = source || !markdown;
    ways.hidden = !markdown;
    const ends = body.scrollHeight - body.scrollTop - body.clientHeight < 60;
    pageBody.hidden = asSource;
    sourceBody.hidden = !asSource;
    if (asSource) setText(sourceBody, text);
    else show(pageBody, text);
    pageBody.classList.toggle("caret", live && text !== "");
    sourceBody.classList.toggle("caret", live);
    if (live && ends) body.scrollTop = body.scrollHeight;
  }

  return {
    choose,
    /** @param {any} now the open place, or null */
    update(now) {
      if (now !== place) {
        chosen = null;
        showing = "";
      }
      place = now;
      root.hidden = !now?.known.persona;
      draw();
    },
  };
}
