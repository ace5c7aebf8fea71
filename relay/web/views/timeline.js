/**
 * The strip below a conversation: what happens to the open generation, from queued to committed.
 */

import { element, reconcile, setText } from "../element.js";
import { figures, lengths, marksOf, phaseNow } from "../timeline.js";

const WORDS = {
  queued: "in the queue",
  unseen: "before this page was opened",
  thinking: "until the first token",
  writing: "writing",
  silent: "without a word",
  away: "without connection",
  lost: "without a worker",
};
const STATES = {
  completed: "Committed",
  failed: "Failed",
  cancelled: "Stopped",
  expired: "Expired",
};

export function timelineView() {
  const state = element("strong", { class: "line-state", data: { testid: "line-state" } });
  const facts = element("span", { class: "line-facts", data: { testid: "line-facts" } });
  const track = element("span", { class: "line-track", "aria-hidden": "true" });
  const marks = element("ol", {
    class: "line-marks",
    tabindex: 0,
    "aria-label": "What happened",
    data: { testid: "line-marks" },
  });
  const node = element(
    "details",
    { class: "line", hidden: true, data: { testid: "timeline" } },
    element("summary", {}, state, track, facts),
    marks,
  );

  return {
    node,
    /** @param {import("../timeline.js").Timeline | null} line @param {number} now */
    update(line, now) {
      node.hidden = line === null;
      if (!line) return;
      const phase = phaseNow(line, now);
      node.dataset.state = line.end?.state ?? phase;
      setText(
        state,
        line.end
          ? STATES[/** @type {keyof typeof STATES} */ (line.end.state)]
          : {
              queued: "Queued",
              unseen: "Running",
              thinking: "Thinking",
              writing: "Writing",
              silent: "Silent",
              away: "Away",
              lost: "Worker lost",
            }[phase],
      );
      const pieces = lengths(line, now).map((piece, index) => ({
        ...piece,
        key: `${index} ${piece.phase}`,
      }));
      reconcile(
        track,
        pieces,
        (piece) => piece.key,
        (piece) => element("span", { class: `line-piece is-${piece.phase}` }),
        (item, { ms, phase: one }) => {
          item.style.flexGrow = String(Math.max(ms, 1));
          item.title = `${seconds(ms)} ${WORDS[one]}`;
        },
      );
      setText(facts, told(line, now).join(" · "));
      const from = line.phases[0].at;
      reconcile(
        marks,
        marksOf(line).map((mark, index) => ({ ...mark, key: `${index} ${mark.at} ${mark.text}` })),
        (mark) => mark.key,
        (mark) =>
          element(
            "li",
            { data: { kind: mark.kind } },
            element("span", {
              class: "line-at",
              text: mark.at === null ? "before" : `+${seconds(mark.at - from)}`,
            }),
            element("span", { text: mark.text }),
          ),
      );
    },
  };
}

/** @param {import("../timeline.js").Timeline} line @param {number} now */
function told(line, now) {
  const { queue, first, rate, counted, tokens, whole } = figures(line, now);
  const many = (/** @type {number} */ count, /** @type {string} */ one) =>
    count > 0 ? `${count} ${one}${count > 1 ? "s" : ""}` : "";
  return [
    `queue ${seconds(queue)}`,
    first === null ? "" : `first token ${seconds(first)}`,
    rate === null
      ? many(tokens ?? 0, "token")
      : `${counted ? "" : "≈ "}${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tok/s`,
    line.attempt > 1 ? `attempt ${line.attempt}` : "",
    many(line.resets, "reset"),
    many(line.reconnects, "reconnect"),
    `${seconds(whole)} in all`,
  ].filter(Boolean);
}

/** @param {number} ms */
function seconds(ms) {
  const value = Math.max(ms, 0) / 1000;
  if (value < 60) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}
