/**
 * What stands where the address names no place of the page: that it does not, and where to go.
 */

import { element } from "../element.js";

export function nowhere() {
  return element(
    "section",
    { class: "welcome", data: { testid: "nowhere" } },
    element("h1", { text: "There is nothing here." }),
    element("p", {
      class: "lead",
      text: "This address leads nowhere: perhaps a piece of it was lost on the way. What you have made is in the list.",
    }),
    element(
      "p",
      { class: "form-actions" },
      element("a", { class: "button", href: "#/", text: "Make a persona" }),
      element("a", { class: "button", href: "#/chat", text: "Begin a chat" }),
    ),
  );
}
