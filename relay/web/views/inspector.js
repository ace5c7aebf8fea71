/**
 * The right pane: a persona's skills, its files as they are written and as they were, and the prompt.
 */

import { documents, size, skills } from "../documents.js";
import { element, icon, reconcile, setText } from "../element.js";
import { exactly } from "../moments.js";
import { viewer } from "./viewer.js";

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
  const versions = element("select", {
    class: "versions",
    "aria-label": "Version",
    hidden: true,
    data: { testid: "versions" },
    on: {
      change: () => {
        at = Number(versions.value) || null;
        draw();
      },
    },
  });
  const open = viewer();
  const head = element("div", { class: "panel-head" }, element("h2", { text: "Files" }), versions);

  root.append(
    element("section", { class: "panel" }, element("h2", { text: "Skills" }), chips, noSkills),
    element("section", { class: "panel" }, head, files, noFiles),
    open.node,
  );

  /** @type {string | null} */
  let chosen = null;
  /** @type {number | null} A past version that is looked at. */
  let at = null;
  let showing = "";
  /** @type {{known: any, content: Function, again: Function} | null} */
  let place = null;

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

  /** @param {any[]} past newest first @param {boolean} active */
  function drawVersions(past, active) {
    versions.hidden = past.length < 2;
    versions.disabled = active;
    if (active || !past.some(({ version }) => version === at)) at = null;
    const options = past.map(({ version, created_at: made }, index) => ({
      value: index === 0 ? "" : String(version),
      text: `Version ${version}${index === 0 ? ", newest" : ` · ${exactly(made)}`}`,
    }));
    reconcile(
      versions,
      options,
      ({ value, text }) => `${value} ${text}`,
      ({ value, text }) => element("option", { value, text }),
    );
    versions.value = at === null ? "" : String(at);
  }

  function drawSkills(/** @type {any[]} */ own) {
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
        const score = skill.score === null ? "" : `${Math.round(skill.score * 100)} %`;
        setText(item.children[0], skill.name);
        setText(item.children[1], skill.matched ? score : "no match");
        item.title =
          skill.matched && skill.requested && skill.requested !== skill.name
            ? `asked for as “${skill.requested}”`
            : "";
        item.classList.toggle("unmatched", !skill.matched);
        item.classList.toggle("is-new", skill.isNew);
      },
    );
    noSkills.hidden = own.length > 0;
  }

  function draw() {
    if (!place) return;
    const { persona, live, versions: past } = place.known;
    const shown = live?.shown ?? null;
    drawVersions(past, Boolean(shown && !shown.generation));
    const old = at === null ? null : past.find((/** @type {any} */ one) => one.version === at);
    drawSkills(old ? skills(old, null) : skills(persona, shown));

    const all = documents(persona, shown, past, at);
    const prompt = persona?.version > 0 && !old ? persona.derived?.system_prompt : null;
    const rows = prompt
      ? [...all, { path: PROMPT, state: "derived", bytes: null, change: "same" }]
      : all;
    const writing = all.findLast((file) => file.state === "writing");
    if (chosen !== null && !rows.some((row) => row.path === chosen)) chosen = null;
    const path =
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
        setText(item.state, told(row));
        setText(item.bytes, size(row.bytes));
        item.button.dataset.state = row.state;
        if (row.path === path) item.button.setAttribute("aria-current", "true");
        else item.button.removeAttribute("aria-current");
      },
    );
    noFiles.hidden = rows.length > 0;
    const another = path !== showing;
    showing = path;
    if (path === PROMPT) {
      const text = { name: "System prompt", state: "derived", text: prompt };
      open.update({ ...text, live: false, before: null, again: null }, another);
    } else {
      const file = all.find((one) => one.path === path);
      open.update(file ? opened(file) : null, another);
    }
  }

  /** @param {import("../documents.js").Document} file @returns {import("./viewer.js").Opened} */
  function opened(file) {
    const { path, sha256, preview, state, base } = file;
    const { content, again } = /** @type {NonNullable<typeof place>} */ (place);
    const earlier = base && content(path, base.sha256, base.version);
    const before = earlier?.state === "there" ? earlier.text : null;
    if (preview !== null && state !== "committed") {
      const waits = state === "written" && !file.whole;
      const note = waits ? "the rest follows when it is done" : STATES[state];
      return {
        name: path,
        state: note,
        text: preview,
        live: state === "writing",
        before,
        again: null,
      };
    }
    const own = content(path, sha256, file.version);
    const notes = { loading: "loading…", failed: "could not be loaded", there: `v${file.version}` };
    return {
      name: path,
      state: notes[/** @type {keyof typeof notes} */ (own.state)],
      text: own.text,
      live: false,
      before: own.state === "there" ? before : null,
      again: own.state === "failed" ? () => again(path, sha256) : null,
    };
  }

  return {
    choose,
    /** @param {any} now the open place, or null */
    update(now) {
      if (now !== place) {
        chosen = null;
        at = null;
        showing = "";
      }
      place = now;
      root.hidden = !now?.known.persona;
      draw();
    },
  };
}

/** What is told of a file beside its name: its state, or how this version changed it. */
function told(/** @type {any} */ { state, change }) {
  if (state === "derived") return "derived";
  if (state === "written") return change;
  if (state !== "committed") return STATES[/** @type {keyof typeof STATES} */ (state)];
  return change === "same" ? "" : change;
}
