/**
 * Makes and reconciles DOM elements from plain values; text only ever becomes text nodes.
 */

/**
 * @param {string} tag
 * @param {Record<string, any>} [props] `class`, `text`, `data: {…}`, `on: {…}`, other keys are attributes;
 *     false and null leave an attribute out, true sets it empty
 * @param {...(Node | string | null | false)} children
 * @returns {any}
 */
export function element(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") made.className = value;
    else if (key === "text") made.textContent = value;
    else if (key === "data") Object.assign(made.dataset, value);
    else if (key === "on")
      for (const [name, listener] of Object.entries(value)) made.addEventListener(name, listener);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(
    ...children.filter((child) => child !== null && child !== false && child !== undefined),
  );
  return made;
}

/**
 * Appends all at once: what a long text holds is more than a call may have arguments, and for each change below it
 * a browser looks through all of an element that runs the way of its words.
 * @template {Element} T @param {T} made @param {Iterable<Node | string>} parts @returns {T}
 */
export function filled(made, parts) {
  const all = new DocumentFragment();
  for (const part of parts) all.append(part);
  made.append(all);
  return made;
}

/** Sets text only when it differs, so that a selection and a screen reader are left in peace. */
export function setText(/** @type {Element} */ node, /** @type {string} */ text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Makes `container` show `items` in order, one child per key, and reuses children: focus stays where it was.
 *
 * @template T
 * @param {Element} container
 * @param {readonly T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => Element} create
 * @param {(child: any, item: T) => void} [update]
 */
export function reconcile(container, items, keyOf, create, update = () => {}) {
  const old = new Map(
    [...container.children].map((child) => [/** @type {any} */ (child).relayKey, child]),
  );
  /** @type {Element | null} */
  let before = container.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = old.get(key);
    if (child) old.delete(key);
    else {
      child = create(item);
      /** @type {any} */ (child).relayKey = key;
    }
    update(child, item);
    if (child === before) before = before.nextElementSibling;
    else container.insertBefore(child, before);
  }
  for (const child of old.values()) child.remove();
}

const ICONS = {
  plus: "M12 5v14M5 12h14",
  send: "M5 12h13M12.500 6.500 18 12l-5.500 5.500",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h10v10H9zM5 15V5h10",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  file: "M7 3h7l4 4v14H7zM14 3v4h4",
  prompt: "M5 7h14M5 12h14M5 17h8",
  down: "M12 5v14M6 13l6 6 6-6",
  chat: "M5 5h14v11H11l-5 4v-4H5z",
  retry: "M19 12a7 7 0 1 1-2-5M19 4v4h-4",
  close: "M6 6l12 12M18 6 6 18",
  key: "M10 14a4 4 0 1 1 1-1l8 0v3M16 13v2",
};

/** A drawn icon, hidden from screen readers: its button has the words. */
export function icon(/** @type {keyof typeof ICONS} */ name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries({
    viewBox: "0 0 24 24",
    class: `icon icon-${name}`,
    "aria-hidden": "true",
    focusable: "false",
  })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
