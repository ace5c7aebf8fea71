/**
 * What a reader has been shown of one generation: a pure reducer over its events (protocol §5).
 *
 * `apply(shown, event)` never changes its argument. After the whole stream, `shown.text` is the
 * committed assistant turn; after a `reset` it begins anew, as the protocol asks.
 */

/**
 * @typedef {object} ShownFile
 * @property {string} path
 * @property {"writing" | "written" | "deleted"} state  `written`: validated, committed if the generation completes
 * @property {string} text        what was previewed of the content
 * @property {boolean} whole      the preview is known to be the file's whole content
 * @property {number} points      code points in `text`
 * @property {boolean} broken     a piece is missing: the preview stopped
 * @property {number | null} bytes
 * @property {string | null} sha256
 */

/**
 * @typedef {object} Shown
 * @property {string} state       the generation's state, as the events told it
 * @property {number} attempt
 * @property {string} text
 * @property {readonly ShownFile[]} files   in the order in which the model first touched them
 * @property {string | null} writing        the path of the file that is being written just now
 * @property {readonly {requested: string, matched: string | null, score: number}[]} skills
 * @property {readonly {code: string, message: string}[]} notices
 * @property {string | null} reset          why the newest attempt began anew, if it did
 * @property {"alive" | "lost" | "none"} worker
 * @property {number} silentSeconds         how long the model has said nothing, as of the last heartbeat
 * @property {any | null} generation        the final generation, once a terminal event came
 */

/**
 * Nothing shown yet.
 * @param {{state?: string, attempt?: number}} [generation]
 * @returns {Shown}
 */
export function nothing(generation = {}) {
  return {
    state: generation.state ?? "queued",
    attempt: generation.attempt ?? 0,
    text: "",
    files: [],
    writing: null,
    skills: [],
    notices: [],
    reset: null,
    worker: "alive",
    silentSeconds: 0,
    generation: null,
  };
}

/**
 * The next state after one event. Events of unknown type change nothing.
 *
 * @param {Shown} before
 * @param {{type: string, data: any}} event
 * @returns {Shown}
 */
export function apply(before, { type, data }) {
  if (type === "heartbeat" || type === "idle") {
    const { state, worker = before.worker, silent_seconds } = data;
    // Each connection counts from its own start, but the silence goes on.
    const silentSeconds = Math.max(before.silentSeconds, silent_seconds);
    return { ...before, state, worker, silentSeconds };
  }
  const shown = { ...before, worker: /** @type {const} */ ("alive"), silentSeconds: 0 };
  switch (type) {
    case "status":
      return { ...shown, state: data.state, attempt: data.attempt };
    case "token":
      return { ...shown, writing: null, text: shown.text + data.text };
    case "file_delta":
      return {
        ...shown,
        writing: data.path,
        files: withFile(shown.files, data.path, (file) => previewed(file, data)),
      };
    case "file":
      return {
        ...shown,
        writing: null,
        files: withFile(shown.files, data.path, (file) => validated(file, data)),
      };
    case "skill":
      return { ...shown, skills: [...shown.skills, data] };
    case "notice":
      return { ...shown, notices: [...shown.notices, data] };
    case "reset":
      return { ...nothing({ state: "running", attempt: data.attempt }), reset: data.reason };
    case "completed":
    case "failed":
    case "cancelled":
    case "expired":
      // The text is there only where the stream itself did not come through.
      return {
        ...shown,
        state: type,
        generation: data.generation,
        text: data.generation.output?.text ?? shown.text,
      };
    default:
      return before;
  }
}

/**
 * @param {readonly ShownFile[]} files
 * @param {string} path
 * @param {(file: ShownFile) => ShownFile} change
 */
function withFile(files, path, change) {
  const at = files.findIndex((file) => file.path === path);
  if (at < 0) return [...files, change(untouched(path))];
  return files.map((file, index) => (index === at ? change(file) : file));
}

/** @param {string} path @returns {ShownFile} */
function untouched(path) {
  return {
    path,
    state: "writing",
    text: "",
    whole: false,
    points: 0,
    broken: false,
    bytes: null,
    sha256: null,
  };
}

/** @param {ShownFile} file @param {{at: number, text: string}} piece @returns {ShownFile} */
function previewed(file, { at, text }) {
  const begun = at === 0 ? untouched(file.path) : file;
  if (begun.broken) return begun;
  if (begun.points !== at) return { ...begun, broken: true };
  return {
    ...begun,
    state: "writing",
    whole: false,
    text: begun.text + text,
    points: at + codePoints(text),
  };
}

/** @param {ShownFile} file @param {{op: string, bytes: number, sha256: string}} result @returns {ShownFile} */
function validated(file, { op, bytes, sha256 }) {
  if (op === "delete") return { ...untouched(file.path), state: "deleted" };
  const whole = file.state === "writing" && !file.broken && utf8Bytes(file.text) === bytes;
  return { ...file, state: "written", whole, bytes, sha256 };
}

/** @param {string} text */
function codePoints(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

const encoder = new TextEncoder();

/** @param {string} text */
function utf8Bytes(text) {
  return encoder.encode(text).length;
}
