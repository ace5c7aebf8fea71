/**
 * Joins the committed files of a persona with those that are being written: a pure function.
 */

/**
 * @typedef {object} Document
 * @property {string} path
 * @property {"committed" | "writing" | "drafted" | "written" | "deleted"} state  `drafted`: not checked yet
 * @property {number | null} bytes
 * @property {string | null} sha256
 * @property {number} version          a version that has this content, if it is committed
 * @property {string | null} preview   what was streamed of it; null when the committed content counts
 * @property {boolean} whole           the preview is the whole content
 * @property {"same" | "new" | "changed" | "deleted"} change   against the version before
 * @property {{sha256: string, version: number} | null} base   what it was there, where it differs
 */

/**
 * @param {any | null} persona
 * @param {import("./shown.js").Shown | null} shown   of the generation that is followed, or null
 * @param {readonly any[]} [versions]                 newest first, as the API gives them
 * @param {number | null} [at]                        a past version, instead of the newest and what is written
 * @returns {Document[]} sorted by path, the main file first
 */
export function documents(persona, shown, versions = [], at = null) {
  /** @type {Map<string, Document>} */
  const all = new Map();
  const version = at ?? persona?.version ?? 0;
  const find = (/** @type {number} */ number) => versions.find((one) => one.version === number);
  const own = at === null ? persona : find(at);
  const earlier = find(version - 1);
  /** @type {Map<string, any>} */
  const before = new Map(earlier?.files.map((/** @type {any} */ file) => [file.path, file]));
  for (const { path, bytes, sha256 } of own?.files ?? []) {
    const old = before.get(path);
    const change = !earlier || old?.sha256 === sha256 ? "same" : old ? "changed" : "new";
    const base = change === "changed" ? { sha256: old.sha256, version: version - 1 } : null;
    const known = { path, state: /** @type {const} */ ("committed"), bytes, sha256, version };
    all.set(path, { ...known, preview: null, whole: true, change, base });
  }
  for (const { path, sha256 } of at === null ? [] : before.values()) {
    if (all.has(path)) continue;
    all.set(path, {
      ...gone(path),
      base: { sha256, version: version - 1 },
    });
  }
  const discarded = shown?.generation && shown.state !== "completed";
  for (const file of discarded || at !== null ? [] : (shown?.files ?? [])) {
    const committed = all.get(file.path);
    if (file.sha256 !== null && file.sha256 === committed?.sha256) continue;
    if (file.state === "deleted" && !committed) continue;
    all.set(file.path, {
      path: file.path,
      state: file.state === "writing" && file.path !== shown?.writing ? "drafted" : file.state,
      bytes: file.bytes,
      sha256: file.sha256,
      version,
      preview: file.text,
      whole: file.whole,
      change: !committed ? "new" : file.state === "deleted" ? "deleted" : "changed",
      base: committed?.sha256 ? { sha256: committed.sha256, version } : null,
    });
  }
  return [...all.values()].sort(
    (a, b) => rank(a.path) - rank(b.path) || (a.path < b.path ? -1 : 1),
  );
}

/** @param {string} path @returns {Document} */
function gone(path) {
  return {
    path,
    state: "deleted",
    bytes: null,
    sha256: null,
    version: 0,
    preview: "",
    whole: true,
    change: "deleted",
    base: null,
  };
}

function rank(/** @type {string} */ path) {
  return path === "persona.md" ? 0 : 1;
}

/**
 * The skills, each once, committed ones first.
 *
 * @param {{skills: readonly any[]} | null | undefined} persona   or one of its versions
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
