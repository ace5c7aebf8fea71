/**
 * The calls of the API (protocol §4) that the page makes, each bounded, retried where that is safe.
 *
 * A POST carries an Idempotency-Key, so that trying it again after a lost answer makes nothing twice.
 * The token, when the server wants one, is kept for this tab only.
 */

import { remember, remembered } from "./kept.js";

const TOKEN_KEY = "relay-token";
const MODEL_KEY = "relay-model";
const TRY_AGAIN_MS = [300, 1000, 2000, 4000];

/** The API lives beside the page, wherever the page is mounted. */
export const root = new URL(".", document.baseURI);

/** A refusal or a failure. `status` 0: the server could not be reached. `code` is the problem's. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {any} [problem] */
  constructor(status, code, message, problem = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.problem = problem;
    /** Seconds after which it may be tried again; 0 when nothing is known. */
    this.retryAfter = 0;
  }
}

export const token = () => remembered(TOKEN_KEY);
export const setToken = (/** @type {string} */ value) => remember(TOKEN_KEY, value);

/** The model that new generations name; "" for the server's default. */
export const model = () => remembered(MODEL_KEY) ?? "";
export const setModel = (/** @type {string} */ value) => remember(MODEL_KEY, value);

/** In a person's words what the API tells a program. @type {Record<string, string>} */
const WORDS = {
  unauthenticated: "This server asks for a valid API token: see “Model and token”.",
  missing_scope: "Your API token does not allow this: see “Model and token”.",
  limit_exceeded: "Too much was asked within a minute.",
  too_many_streams: "Too many pages are open.",
};

/** The last POST without an answer: it may have arrived, and sent again it must make nothing twice. */
const UNANSWERED_KEY = "relay-unanswered";

/** The key of this request, kept over a reload until it is answered. */
function keyOf(/** @type {string} */ request) {
  const [key, last] = (remembered(UNANSWERED_KEY) ?? "").split(/ (.*)/s);
  const mine = key && last === request ? key : newKey();
  remember(UNANSWERED_KEY, `${mine} ${request}`);
  return mine;
}

function answered(/** @type {string} */ key) {
  if (remembered(UNANSWERED_KEY)?.startsWith(`${key} `)) remember(UNANSWERED_KEY, "");
}

/** Random enough to be a key; `crypto.randomUUID` is missing on plain http. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

/**
 * @param {string} method @param {string} path @param {object} [options]
 * @param {any} [options.body] @param {AbortSignal} [options.signal]
 * @returns {Promise<Response>}
 */
async function call(method, path, { body, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  const bearer = token();
  const payload = body === undefined ? undefined : JSON.stringify(body);
  const key = body === undefined ? "" : keyOf(`${path} ${payload}`);
  if (bearer) headers.authorization = `Bearer ${bearer}`;
  if (key) {
    headers["content-type"] = "application/json";
    headers["idempotency-key"] = key;
  }
  for (let attempt = 0; ; attempt += 1) {
    let failure;
    try {
      const answer = await fetch(new URL(path, root), {
        method,
        headers,
        body: payload,
        signal,
        cache: "no-cache",
      });
      if (key && answer.status < 502) answered(key);
      if (answer.ok) return answer;
      failure = await refusal(answer);
    } catch (error) {
      if (signal?.aborted) throw error;
      failure =
        error instanceof ApiError
          ? error
          : navigator.onLine
            ? new ApiError(0, "unreachable", "The server can't be reached.")
            : new ApiError(0, "offline", "You are offline.");
    }
    const passing = failure.status === 0 || failure.status >= 502;
    // Who writes while offline is told at once; what is read is read when it can be.
    const hopeless = failure.code === "offline" && method !== "GET";
    if (!passing || hopeless || attempt >= TRY_AGAIN_MS.length) throw failure;
    await pause(TRY_AGAIN_MS[attempt], signal);
  }
}

/** @param {Response} answer */
async function refusal(answer) {
  let problem = {};
  try {
    problem = await answer.json();
  } catch {
    // A proxy's own page: the status says what there is to say.
  }
  const { code = `http_${answer.status}`, detail, title } = /** @type {any} */ (problem);
  const message = WORDS[code] || detail || title || `The server answered ${answer.status}.`;
  const refused = new ApiError(answer.status, code, message, problem);
  refused.retryAfter = Number(answer.headers.get("retry-after")) || 0;
  return refused;
}

function pause(/** @type {number} */ milliseconds, /** @type {AbortSignal | undefined} */ signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });
}

const json = async (/** @type {Promise<Response>} */ answer) => (await answer).json();
const segment = encodeURIComponent;
const filePath = (/** @type {string} */ path) => path.split("/").map(segment).join("/");
const named = () => (model() ? { model: model() } : {});

const beyond = (/** @type {string | null} */ cursor) => (cursor ? `&cursor=${segment(cursor)}` : "");

export const personas = (/** @type {string | null} */ cursor, /** @type {AbortSignal} */ signal) =>
  json(call("GET", `v1/personas?limit=50${beyond(cursor)}`, { signal }));

/** The generations of chats, an application's own kinds among them, the newest first. */
export const chats = (/** @type {string | null} */ cursor, /** @type {AbortSignal} */ signal) =>
  json(call("GET", `v1/generations?persona_id=none&limit=100${beyond(cursor)}`, { signal }));

export const persona = (/** @type {string} */ id, /** @type {AbortSignal} */ signal) =>
  json(call("GET", `v1/personas/${segment(id)}`, { signal }));

/** Its newest versions, with their files and skills. */
export const versions = (/** @type {string} */ id, /** @type {AbortSignal} */ signal) =>
  json(call("GET", `v1/personas/${segment(id)}/versions?limit=100`, { signal }));

export const conversation = (/** @type {string} */ id, /** @type {AbortSignal} */ signal) =>
  json(call("GET", `v1/conversations/${segment(id)}`, { signal }));

export const generation = (/** @type {string} */ id, /** @type {AbortSignal} */ signal) =>
  json(call("GET", `v1/generations/${segment(id)}`, { signal }));

export const createPersona = (/** @type {string} */ name, /** @type {string} */ brief) =>
  json(call("POST", "v1/personas", { body: { name, brief, ...named() } }));

/** Starts or, behind an active generation, queues one. */
export const start = (/** @type {Record<string, string>} */ fields) =>
  json(call("POST", "v1/generations", { body: { on_active: "queue", ...named(), ...fields } }));

export const cancel = (/** @type {string} */ id) =>
  call("POST", `v1/generations/${segment(id)}/cancel`);

export const removePersona = (/** @type {string} */ id) =>
  call("DELETE", `v1/personas/${segment(id)}`);

/** One file's text, at one version of the persona. */
export const fileText = async (
  /** @type {string} */ id,
  /** @type {string} */ path,
  /** @type {number} */ version,
  /** @type {AbortSignal} */ signal,
) =>
  (
    await call("GET", `v1/personas/${segment(id)}/files/${filePath(path)}?version=${version}`, {
      signal,
    })
  ).text();

export const exportUrl = (/** @type {string} */ id) =>
  new URL(`v1/personas/${segment(id)}/export`, root).href;

/** The export as a blob: a link alone can't carry a token. */
export const exportBlob = async (/** @type {string} */ id) =>
  (await call("GET", `v1/personas/${segment(id)}/export`)).blob();
