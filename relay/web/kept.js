/**
 * What this tab remembers until it is closed, across reloads too where the browser lets it.
 *
 * Storage may be forbidden, where even to look at it throws, or full: then it lasts as long as the page.
 */

/** @type {Map<string, string>} */
const here = new Map();

/** @param {string} key @returns {string | null} */
export function remembered(key) {
  try {
    return here.get(key) ?? sessionStorage.getItem(key);
  } catch {
    return here.get(key) ?? null;
  }
}

/** @param {string} key @param {string} value "" forgets it */
export function remember(key, value) {
  here.delete(key);
  try {
    if (value) sessionStorage.setItem(key, value);
    else sessionStorage.removeItem(key);
  } catch {
    if (value) here.set(key, value);
  }
}
