/**
 * The texts of a persona's committed files: each is fetched once, or never where it was streamed whole.
 */

import * as api from "./api.js";

/** @typedef {{state: "loading" | "there" | "failed", text: string}} Content */

/**
 * @param {() => any} persona       the one whose files they are
 * @param {AbortSignal} signal
 * @param {() => void} change       a text is there, failed, or is to be asked for once more
 */
export function fileContents(persona, signal, change) {
  /** @type {Map<string, Content>} */
  const contents = new Map();
  const keyOf = (/** @type {string} */ path, /** @type {string} */ sha256) => `${path}\0${sha256}`;

  return {
    /** A file's text at a version that has it. @returns {Content} */
    content(
      /** @type {string} */ path,
      /** @type {string} */ sha256,
      /** @type {number} */ version = persona().version,
    ) {
      const key = keyOf(path, sha256);
      const kept = contents.get(key);
      if (kept) return kept;
      /** @type {Content} */
      const loading = { state: "loading", text: "" };
      contents.set(key, loading);
      api
        .fileText(persona().id, path, version, signal)
        .then(
          (text) => contents.set(key, { state: "there", text }),
          () => contents.set(key, { state: "failed", text: "" }),
        )
        .then(change);
      return loading;
    },
    /** What was streamed whole is the content: no need to fetch it again. */
    keep(
      /** @type {string} */ path,
      /** @type {string} */ sha256,
      /** @type {string} */ text,
    ) {
      contents.set(keyOf(path, sha256), { state: "there", text });
    },
    /** Tries once more to fetch a content that failed. */
    again(/** @type {string} */ path, /** @type {string} */ sha256) {
      contents.delete(keyOf(path, sha256));
      change();
    },
  };
}
