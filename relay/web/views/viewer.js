/**
 * One open file: as a page, as its source, or as what changed against the version before.
 */

import { changed, diff } from "../diff.js";
import { element, reconcile, setText } from "../element.js";
import { show } from "../markdown.js";

/** Unchanged lines beyond so many around a change are folded. */
const AROUND = 3;
const SIGNS = { same: " ", added: "+", removed: "−", ahead: " " };

/**
 * @typedef {object} Opened
 * @property {string} name
 * @property {string} state                what the badge says
 * @property {string} text
 * @property {boolean} live                it is being written
 * @property {string | null} before        its text in the version before; null where there is none
 * @property {(() => void) | null} again   loads it again, after that failed
 */

/** @typedef {"page" | "source" | "changes"} Way */

export function viewer() {
  /** @type {Way} */
  let way = "page";
  /** @type {Opened | null} */
  let opened = null;

  const title = element("h3", { class: "viewer-title" });
  const badge = element("span", { class: "badge", hidden: true, data: { testid: "file-state" } });
  const segment = (/** @type {Way} */ name, /** @type {string} */ text) =>
    element("button", {
      type: "button",
      class: "segment",
      text,
      data: { testid: name },
      on: {
        click: () => {
          way = name;
          draw();
        },
      },
    });
  const buttons = {
    page: segment("page", "Page"),
    source: segment("source", "Source"),
    changes: segment("changes", "Changes"),
  };
  const ways = element(
    "div",
    { class: "segments", role: "group", "aria-label": "Show as" },
    ...Object.values(buttons),
  );
  const again = element("button", {
    type: "button",
    class: "button small",
    text: "Load it again",
    hidden: true,
  });
  const bodies = {
    page: element("div", { class: "words", data: { testid: "file-page" } }),
    source: element("pre", { class: "source", data: { testid: "file-source" } }),
    changes: element("ol", { class: "diff", data: { testid: "file-changes" } }),
  };
  const body = element(
    "div",
    { class: "viewer-body", tabindex: 0, role: "region", "aria-label": "File content" },
    again,
    ...Object.values(bodies),
  );
  const node = element(
    "section",
    { class: "viewer", hidden: true, "aria-label": "Open file", data: { testid: "viewer" } },
    element("header", { class: "viewer-head" }, title, badge, ways),
    body,
  );

  function draw() {
    if (!opened) return;
    const { name, state, text, live, before } = opened;
    setText(title, name);
    setText(badge, state);
    badge.hidden = state === "";
    again.hidden = opened.again === null;
    again.onclick = opened.again;
    const markdown = name.endsWith(".md");
    buttons.page.hidden = !markdown;
    buttons.changes.hidden = before === null;
    const asked = way === "changes" && before === null ? "page" : way;
    const shown = asked === "page" && !markdown ? "source" : asked;
    ways.hidden = !markdown && before === null;
    const lines = before === null ? [] : diff(before, text, live);
    const { added, removed } = changed(lines);
    setText(buttons.changes, before === null ? "Changes" : `Changes +${added} −${removed}`);
    for (const one of /** @type {Way[]} */ (["page", "source", "changes"])) {
      bodies[one].hidden = one !== shown;
      buttons[one].setAttribute("aria-pressed", String(one === shown));
    }
    const ends = body.scrollHeight - body.scrollTop - body.clientHeight < 60;
    if (shown === "source") setText(bodies.source, text);
    else if (shown === "page") show(bodies.page, text, live);
    else drawLines(bodies.changes, lines);
    bodies.page.classList.toggle("caret", live && text !== "");
    bodies.source.classList.toggle("caret", live);
    if (live && ends) body.scrollTop = body.scrollHeight;
  }

  return {
    node,
    /** @param {Opened | null} now @param {boolean} another whether it is another file than before */
    update(now, another) {
      opened = now;
      node.hidden = now === null;
      if (another) body.scrollTop = 0;
      draw();
    },
  };
}

/** @param {Element} list @param {import("../diff.js").Line[]} lines */
function drawLines(list, lines) {
  const near = lines.map((_, index) =>
    lines
      .slice(Math.max(index - AROUND, 0), index + AROUND + 1)
      .some(({ kind }) => kind === "added" || kind === "removed"),
  );
  /** @type {{key: string, kind: string, sign: string, text: string}[]} */
  const rows = [];
  for (let at = 0; at < lines.length; at += 1) {
    const { kind, text } = lines[at];
    if (near[at]) rows.push({ key: `${at} ${kind} ${text}`, kind, sign: SIGNS[kind], text });
    else {
      let end = at;
      while (end + 1 < lines.length && !near[end + 1] && lines[end + 1].kind === kind) end += 1;
      const count = `${end - at + 1} line${end > at ? "s" : ""}`;
      const words = kind === "ahead" ? `${count} not reached yet` : `${count} unchanged`;
      rows.push({ key: `${at} fold ${words}`, kind: "fold", sign: "", text: words });
      at = end;
    }
  }
  reconcile(
    list,
    rows,
    (row) => row.key,
    ({ kind, sign, text }) => {
      const tag = { added: "ins", removed: "del" }[kind] ?? "span";
      const said = { added: "added: ", removed: "removed: " }[kind] ?? "";
      return element(
        "li",
        { class: `is-${kind}` },
        element("span", { class: "diff-sign", "aria-hidden": "true", text: sign }),
        said && element("span", { class: "announcer", text: said }),
        element(tag, { text }),
      );
    },
  );
}
