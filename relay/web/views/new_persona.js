/**
 * The first page: a name and a brief become a persona. What is typed stays until it is accepted.
 */

import * as api from "../api.js";
import { element, icon } from "../element.js";
import { remember, remembered } from "../kept.js";
import { refusal } from "./refusal.js";

const EXAMPLES = [
  [
    "Ada",
    "A patient statistics tutor for nurses. Explains with bedside examples, asks before she tells, never shames a wrong answer.",
  ],
  [
    "Marlow",
    "A code reviewer for a small Python team: kind, exact, allergic to cleverness. Says what is good first, then the one thing that matters most.",
  ],
  [
    "Inès",
    "A museum guide for children of eight to twelve. Curious, playful, honest about what nobody knows. Short sentences, one question at a time.",
  ],
];

/**
 * @param {(generation: any) => void} onCreated
 * @param {(error: any) => void} onRefused
 */
export function newPersona(onCreated, onRefused) {
  const name = element("input", {
    id: "persona-name",
    name: "name",
    required: true,
    maxlength: 200,
    autocomplete: "off",
    data: { testid: "name" },
  });
  const brief = element("textarea", {
    id: "persona-brief",
    name: "brief",
    rows: 6,
    required: true,
    maxlength: 100_000,
    data: { testid: "brief" },
  });
  const trouble = refusal("form-error", () => {
    submit.disabled = trouble.waits();
  });
  const submit = element(
    "button",
    { type: "submit", class: "button primary large", data: { testid: "create" } },
    icon("send"),
    element("span", { text: "Make the persona" }),
  );
  const examples = element(
    "div",
    { class: "examples" },
    element("span", { class: "hint", text: "Or start from" }),
    ...EXAMPLES.map(([who, what]) =>
      element("button", {
        type: "button",
        class: "chip",
        text: who,
        title: what,
        on: {
          click: () => {
            name.value = who;
            brief.value = what;
            keep();
            brief.focus();
          },
        },
      }),
    ),
  );
  const form = element(
    "form",
    { class: "new-persona", data: { testid: "new-persona-form" } },
    element("label", { for: "persona-name", text: "Name" }),
    name,
    element("label", { for: "persona-brief", text: "Brief" }),
    brief,
    element("p", {
      class: "hint",
      text: "Who it is, whom it serves, how it speaks, what it refuses.",
    }),
    trouble.node,
    element("div", { class: "form-actions" }, submit, examples),
  );

  const draftOf = (/** @type {HTMLInputElement} */ field) => `relay-draft #/ ${field.name}`;
  const fields = [name, brief];
  const keep = () => fields.forEach((field) => remember(draftOf(field), field.value));
  for (const field of fields) field.value = remembered(draftOf(field)) ?? "";
  form.addEventListener("input", keep);

  const send = async () => {
    submit.disabled = true;
    const sent = fields.map(({ value }) => value);
    try {
      const generation = await api.createPersona(name.value.trim(), brief.value.trim());
      // What was changed while it was on its way is not what was accepted.
      if (fields.every((field, at) => remembered(draftOf(field)) === sent[at]))
        for (const field of fields) remember(draftOf(field), "");
      onCreated(generation);
    } catch (error) {
      trouble.show(error);
      onRefused(error);
    } finally {
      submit.disabled = trouble.waits();
    }
  };
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    void send();
  });
  brief.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) form.requestSubmit();
  });

  return {
    node: element(
      "section",
      { class: "welcome" },
      element("h1", { text: "A persona, from a brief." }),
      element("p", {
        class: "lead",
        text: "Describe someone. Their files, voice and skills are written before your eyes; close the page and they are still written.",
      }),
      form,
    ),
    focus: () => name.focus({ preventScroll: true }),
  };
}
