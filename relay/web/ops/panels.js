/**
 * The panels of the operator's page, made once and shown anew with each reading.
 */

import { element, reconcile, setText } from "../element.js";
import { plot } from "./plot.js";
import { aMinute, byMinute, count, duration, GONE_SECONDS, LATE_SECONDS } from "./words.js";

const OUTCOMES = ["completed", "failed", "cancelled", "expired"];
/** Readings that this tab keeps of what only it samples. */
const KEPT = 100;

/** A number with its name; `level` marks it as worth a look. */
function tile(/** @type {string} */ name, /** @type {string} */ testid) {
  const value = element("dd", { data: { testid } });
  const note = element("dd", { class: "tile-note" });
  const node = element("div", { class: "tile" }, element("dt", { text: name }), value, note);
  return {
    node,
    show(/** @type {string} */ text, /** @type {string} */ more = "", level = "") {
      setText(value, text);
      setText(note, more);
      node.dataset.level = level;
    },
  };
}

/**
 * A table whose rows are kept by key; words in the place of rows where there are none.
 *
 * @param {string} title @param {string} testid @param {string[]} heads @param {string} none
 */
function table(title, testid, heads, none) {
  const body = element("tbody");
  const whole = element(
    "table",
    {},
    element("caption", { class: "announcer", text: title }),
    element(
      "thead",
      {},
      element("tr", {}, ...heads.map((head) => element("th", { scope: "col", text: head }))),
    ),
    body,
  );
  const empty = element("p", { class: "hint", text: none });
  const scroll = element(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": title },
    whole,
  );
  const node = element(
    "section",
    { class: "panel", data: { testid } },
    element("h2", { text: title }),
    scroll,
    empty,
  );
  return {
    node,
    /** @param {{key: string, cells: (string | Node)[], level?: string}[]} rows */
    show(rows) {
      scroll.hidden = rows.length === 0;
      empty.hidden = rows.length > 0;
      reconcile(
        body,
        rows,
        (row) => row.key,
        () =>
          element(
            "tr",
            {},
            ...heads.map((_, place) => element(place ? "td" : "th", place ? {} : { scope: "row" })),
          ),
        (line, row) => {
          line.dataset.level = row.level ?? "";
          row.cells.forEach((cell, place) => {
            const box = line.children[place];
            if (typeof cell === "string") setText(box, cell);
            else box.replaceChildren(cell);
          });
        },
      );
    },
  };
}

const badge = (/** @type {string} */ text) => element("span", { class: `badge is-${text}`, text });

export function panels() {
  const tiles = {
    running: tile("Running", "running"),
    queued: tile("Queued", "queued"),
    waiting: tile("In line", "waiting"),
    lost: tile("Without a worker", "lost"),
    queue: tile("Jobs in Redis", "queue"),
    places: tile("Places in use", "places"),
    streams: tile("Streams here", "streams"),
  };
  const plots = {
    accepted: plot("Accepted a minute", ["accepted"]),
    ended: plot("Ended a minute", OUTCOMES),
    tokens: plot("Tokens committed a minute", ["tokens"]),
    standing: plot("Not ended", ["running", "queued", "waiting"]),
  };
  const minutes = table(
    "The last ten minutes",
    "minutes",
    [
      "Minutes ago",
      "Accepted",
      ...OUTCOMES.map((one) => one[0].toUpperCase() + one.slice(1)),
      "Tokens committed",
    ],
    "Nothing yet.",
  );
  const workers = table(
    "Workers",
    "workers",
    ["Worker", "State", "Runs", "Of", "Up for"],
    "No worker is known.",
  );
  const breakers = table(
    "Circuit breakers",
    "breakers",
    ["Model", "State", "Failures", "Waiting", "Tries again", "Endpoint"],
    "All are closed.",
  );
  const errors = table("Failures of the last ten minutes", "errors", ["Code", "Times"], "None.");
  const numbers = element(
    "details",
    { class: "numbers" },
    element("summary", { text: "As a table" }),
    minutes.node,
  );
  const nodes = [
    element("dl", { class: "tiles" }, ...Object.values(tiles).map((one) => one.node)),
    element("div", { class: "plots" }, ...Object.values(plots).map((one) => one.node)),
    numbers,
    element(
      "div",
      { class: "tables" },
      workers.node,
      element("div", { class: "column" }, breakers.node, errors.node),
    ),
  ];
  /** @type {{at: number, running: number, queued: number, waiting: number}[]} */
  const samples = [];
  /** The workers as they were told of last, and when. @type {any[]} */
  let listed = [];
  let workersAt = 0;

  function showStanding(/** @type {any} */ figures) {
    const { generations: now, workers: known, queue_depth: depth, streams } = figures;
    if (now) {
      const late = now.queued > 0 && now.oldest_queued_seconds >= LATE_SECONDS;
      tiles.running.show(count(now.running));
      tiles.queued.show(
        count(now.queued),
        now.queued ? `oldest ${duration(now.oldest_queued_seconds)}` : "",
        late ? "bad" : "",
      );
      tiles.waiting.show(count(now.waiting));
      tiles.lost.show(count(now.lost), "", now.lost ? "bad" : "");
      samples.push({ ...now, at: Date.parse(figures.at) });
      if (samples.length > KEPT) samples.shift();
    }
    tiles.queue.show(depth === null ? "–" : count(depth), "", depth === null ? "bad" : "");
    const alive = (known ?? []).filter((/** @type {any} */ one) => one.alive);
    const sum = (/** @type {string} */ field) =>
      alive.reduce((/** @type {number} */ total, /** @type {any} */ one) => total + one[field], 0);
    if (known) tiles.places.show(count(sum("running")), `of ${count(sum("capacity"))}`);
    tiles.streams.show(count(streams.events), `${count(streams.feed)} ${streams.feed === 1 ? "feed" : "feeds"}`);
  }

  function showRates(/** @type {any} */ rates) {
    const each = rates.slice_seconds;
    const span = `${duration(rates.accepted.length * each)} ago`;
    const draw = (
      /** @type {ReturnType<typeof plot>} */ one,
      /** @type {string[]} */ names,
      /** @type {number[][]} */ values,
      /** @type {string} */ what,
    ) => {
      const said = names.map((name, place) => `${count(aMinute(values[place], each))} ${name}`);
      const total = count(values.reduce((all, slices) => all + aMinute(slices, each), 0));
      const scaled = values.map((slices) => slices.map((slice) => (slice * 60) / each));
      one.draw(
        names.map((name, place) => ({ name, values: scaled[place] })),
        total,
        span,
        `${what}: ${said.join(", ")} in the last minute.`,
      );
    };
    draw(plots.accepted, ["accepted"], [rates.accepted], "Accepted");
    draw(
      plots.ended,
      OUTCOMES,
      OUTCOMES.map((one) => rates[one]),
      "Ended",
    );
    draw(plots.tokens, ["tokens"], [rates.output_tokens], "Committed");
    const columns = [rates.accepted, ...OUTCOMES.map((one) => rates[one]), rates.output_tokens];
    const sums = columns.map((column) => byMinute(column, each));
    minutes.show(
      sums[0].map((_, ago) => ({
        key: String(ago),
        cells: [String(ago + 1), ...sums.map((column) => count(column[ago]))],
      })),
    );
    errors.show(
      rates.errors.map((/** @type {any} */ one) => ({
        key: one.code,
        cells: [one.code, count(one.count)],
      })),
    );
  }

  function showSamples() {
    const names = /** @type {const} */ (["running", "queued", "waiting"]);
    const last = samples.at(-1);
    if (!last) return;
    plots.standing.draw(
      names.map((name) => ({ name, values: samples.map((one) => one[name]) })),
      count(names.reduce((sum, name) => sum + last[name], 0)),
      `${duration((last.at - samples[0].at) / 1000)} ago`,
      `Not ended now: ${names.map((name) => `${count(last[name])} ${name}`).join(", ")}.`,
    );
  }

  /** @param {boolean} isKnown whether they are told of now, or were before */
  function showWorkers(isKnown) {
    const state = (/** @type {any} */ one) =>
      !one.alive ? "silent" : isKnown ? "alive" : "unknown";
    const since = (/** @type {any} */ one) =>
      one.alive
        ? duration((workersAt - one.started_at) / 1000)
        : `silent ${duration(one.silent_seconds)}`;
    workers.show(
      listed.map((one) => ({
        key: one.id,
        level: one.alive ? "" : "bad",
        cells: [
          one.id,
          badge(state(one)),
          count(one.running),
          count(one.capacity),
          isKnown ? since(one) : "–",
        ],
      })),
    );
  }

  function showTables(/** @type {any} */ figures) {
    const at = Date.parse(figures.at);
    if (figures.workers) {
      workersAt = at;
      listed = figures.workers.filter(
        (/** @type {any} */ one) => one.alive || one.silent_seconds < GONE_SECONDS,
      );
    }
    showWorkers(figures.workers !== null);
    if (figures.breakers)
      breakers.show(
        figures.breakers.map((/** @type {any} */ one) => ({
          key: `${one.endpoint} ${one.model}`,
          level: one.state === "closed" ? "" : "bad",
          cells: [
            one.model,
            badge(one.state.replace("_", "-")),
            count(one.failures),
            count(one.waiting),
            one.state === "closed"
              ? "–"
              : one.retry_at > at
                ? `in ${duration((one.retry_at - at) / 1000)}`
                : "now",
            one.endpoint,
          ],
        })),
      );
  }

  return {
    nodes,
    show(/** @type {any} */ figures) {
      showStanding(figures);
      showRates(figures.rates);
      showSamples();
      showTables(figures);
    },
    /** No longer says of a worker that it is alive. */
    doubt: () => showWorkers(false),
  };
}
