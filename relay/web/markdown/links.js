/**
 * Which addresses in a model's words become links, and how such a link says where it leads.
 */

import { element, filled } from "../element.js";

const SCHEME = /^(?:https?:\/\/|mailto:)/i;
const SCHEMES = ["https://", "http://", "mailto:"];
/** Control and format characters, spaces, and the backslash that a browser takes for a slash. */
const UNSEEN = /[\s\\\p{C}]/u;

/** The address as a browser takes it; null where it is refused. */
export function destination(/** @type {string} */ written) {
  if (!SCHEME.test(written) || UNSEEN.test(written) || !URL.canParse(written)) return null;
  const url = new URL(written);
  // What stands before an @ passes for the host.
  if (url.username || url.password) return null;
  if (url.protocol === "mailto:" && !url.pathname.includes("@")) return null;
  return url;
}

/** Whether more may make it an address that is not refused. */
export function mayLead(/** @type {string} */ written) {
  const begun = written.toLowerCase();
  return SCHEMES.some((scheme) => scheme.startsWith(begun) || begun.startsWith(scheme));
}

/**
 * A link that says its host beside its words, unless they begin with it, and all of its address to who points at it.
 * @param {URL} url @param {(Node | string)[]} words
 */
export function link(url, words) {
  const isMail = url.protocol === "mailto:";
  const to = isMail ? url.pathname : url.host;
  const made = element("a", {
    href: url.href,
    title: url.href,
    rel: "noopener noreferrer",
    target: isMail ? null : "_blank",
  });
  filled(made, words);
  if (!names(made.textContent, to)) made.dataset.to = to;
  return made;
}

/** What is no link yet has the element of one: its words stay, and so does what is selected in them. */
export function halfLink(/** @type {(Node | string)[]} */ words) {
  return filled(element("a"), words);
}

/** Whether these words begin with just this host or address. */
function names(/** @type {string} */ words, /** @type {string} */ to) {
  const plain = words.trim().replace(SCHEME, "").toLowerCase();
  return plain.startsWith(to.toLowerCase()) && /^(?:$|[/:?#])/.test(plain.slice(to.length));
}
