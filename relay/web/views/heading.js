/**
 * The line above a conversation: whose it is, its version, and what can be done with the whole of it.
 */

import * as api from "../api.js";
import { element, icon, setText } from "../element.js";

/**
 * @param {object} hooks
 * @param {(id: string) => void} hooks.onDeleted
 * @param {(error: any) => void} hooks.onError
 */
export function heading({ onDeleted, onError }) {
  /** @type {any} */
  let persona = null;
  const name = element("h1", { data: { testid: "title" } });
  const version = element("span", { class: "badge", data: { testid: "version" } });
  const take = element(
    "button",
    {
      type: "button",
      class: "button small",
      "aria-label": "Export as a zip archive",
      data: { testid: "export" },
      on: { click: () => void download() },
    },
    icon("download"),
    element("span", { text: "Export" }),
  );
  const remove = element(
    "button",
    {
      type: "button",
      class: "button small quiet-danger",
      "aria-label": "Delete this persona",
      title: "Delete",
      data: { testid: "delete" },
      on: { click: () => dialog.showModal() },
    },
    icon("trash"),
  );
  const question = element("p", {});
  const dialog = element(
    "dialog",
    { class: "ask", data: { testid: "delete-dialog" } },
    element("h2", { text: "Delete this persona?" }),
    question,
    element(
      "form",
      { method: "dialog", class: "form-actions" },
      element("button", { value: "keep", class: "button", text: "Keep it" }),
      element("button", {
        value: "delete",
        class: "button danger",
        text: "Delete",
        data: { testid: "confirm-delete" },
      }),
    ),
  );
  dialog.addEventListener("close", async () => {
    if (dialog.returnValue !== "delete") return;
    dialog.returnValue = "";
    // The feed may tell of it before the answer does.
    const { id } = persona;
    try {
      await api.removePersona(id);
      onDeleted(id);
    } catch (error) {
      onError(error);
    }
  });

  async function download() {
    const link = element("a", { href: api.exportUrl(persona.id), download: `${persona.name}.zip` });
    try {
      if (api.token()) {
        // A link can't carry the token: the archive is fetched with it first.
        link.href = URL.createObjectURL(await api.exportBlob(persona.id));
        setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      }
      link.click();
    } catch (error) {
      onError(error);
    }
  }

  return {
    node: element(
      "header",
      { class: "heading" },
      name,
      version,
      element("div", { class: "heading-actions" }, take, remove),
      dialog,
    ),
    /** @param {any} known @param {string} called */
    update(known, called) {
      persona = known.persona;
      setText(name, called);
      version.hidden = !persona;
      setText(version, persona?.version > 0 ? `version ${persona.version}` : "draft");
      take.hidden = !persona || persona.version === 0;
      remove.hidden = !persona;
      if (!persona && dialog.open) dialog.close();
      setText(
        question,
        `${persona?.name ?? ""}: its files go, and what is being written for it stops.`,
      );
    },
  };
}
