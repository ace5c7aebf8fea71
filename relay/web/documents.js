/**
 * Joins the committed files of a persona with those that are being written: a pure function.
 */

/**
 * @typedef {object} Document
 * @property {string} path
 * @property {"committed" | "writing" | "drafted" | "written" | "deleted"} state  `drafted`: not checked yet
 * @property {number | null} bytes
 * @property {string | null} sha256
 * @property {string | null} preview   what was streamed of it; null when the committed content counts
 * @property {boolean} whole           the preview is the whole content
 * @property {boolean} isNew           not part of the committed version
 */

/**
 * @param {any | null} persona
 * @param {import("./shown.js").Shown | null} shown   of the generation that is followed, or null
 * @returns {Document[]} sorted by path, the main file first
 */
export function documents(persona, shown) {
  /** @type {Map<string, Document>} */
  const all = new Map();
  for (const { path, bytes, sha256 } of persona?.files ?? []) {
    all.set(path, {
      path,
      state: "committed",
      bytes,
      sha256,
      preview: null,
      whole: true,
      isNew: false,
    });
  }
  const discarded = shown?.generation && shown.state !== "completed";
  for (const file of discarded ? [] : (shown?.files ?? [])) {
    const committed = all.get(file.path);
    if (file.sha256 !== null && file.sha256 === committed?.sha256) continue;
    if (file.state === "deleted" && !committed) continue;
    all.set(file.path, {
      path: file.path,
      state: file.state === "writing" && file.path !== shown?.writing ? "drafted" : file.state,
      bytes: file.bytes,
      sha256: file.sha256,
      preview: file.text,
      whole: file.whole,
      isNew: !committed,
    });
  }
  return [...all.values()].sort(
    (a, b) => rank(a.path) - rank(b.path) || (a.path < b.path ? -1 : 1),
  );
}

function rank(/** @type {string} */ path) {
  return path === "persona.md" ? 0 : 1;
}

/**
 * The skills, each once, committed ones first.
 *
 * @param {any | null} persona
 * @param {import("./shown.js").Shown | null} shown
 * @returns {{key: string, name: string, score: number | null, requested: string | null, matched: boolean, isNew: boolean}[]}
 */
export function skills(persona, shown) {
  const all = new Map();
  for (const skill of persona?.skills ?? []) {
    const name = typeof skill === "string" ? skill : (skill.id ?? skill.name);
    all.set(name, { key: name, name, score: null, requested: null, matched: true, isNew: false });
  }
  const discarded = shown?.generation && shown.state !== "completed";
  for (const { requested, matched, score } of discarded ? [] : (shown?.skills ?? [])) {
    const name = matched ?? requested;
    const committed = all.get(name);
    all.set(name, {
      key: name,
      name,
      score,
      requested,
      matched: matched !== null,
      isNew: !committed || committed.isNew,
    });
  }
  return [...all.values()];
}

/** Bytes as a person reads them. */
export function size(/** @type {number | null} */ bytes) {
  if (bytes === null) return "";
  return bytes < 1000 ? `${bytes} B` : `${(bytes / 1000).toFixed(bytes < 10_000 ? 1 : 0)} kB`;
}
