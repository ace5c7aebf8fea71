/**
 * A small plot of bars, stacked by series, that is redrawn in place; read out as one sentence.
 */

import { element, setText } from "../element.js";
import { count } from "./words.js";

const WIDTH = 300;
const HEIGHT = 80;

/** @typedef {{name: string, values: number[]}} Series */

function svg(/** @type {string} */ tag, /** @type {Record<string, string | number>} */ attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

/** A round number that is not below this one, for the top of the scale. */
export function ceiling(/** @type {number} */ value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value) ?? value;
}

/**
 * @param {string} title
 * @param {readonly string[]} names of the series, from the bottom up; more than one get a legend
 */
export function plot(title, names) {
  const paths = names.map((name) => svg("path", { class: `series series-${name}` }));
  const picture = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
    class: "bars",
  });
  picture.append(...paths);
  const now = element("span", { class: "plot-now" });
  const top = element("span", { class: "plot-top", "aria-hidden": "true" });
  const from = element("span");
  const empty = element("span", {
    class: "plot-empty",
    "aria-hidden": "true",
    text: "Nothing in this time",
  });
  const legend = element(
    "ul",
    { class: "legend", hidden: names.length < 2 },
    ...names.map((name) => element("li", { class: `key series-${name}`, text: name })),
  );
  const node = element(
    "figure",
    { class: "plot" },
    element("figcaption", {}, element("span", { text: title }), now),
    element("div", { class: "plot-area" }, top, picture, empty),
    element(
      "div",
      { class: "plot-span", "aria-hidden": "true" },
      from,
      element("span", { text: "now" }),
    ),
    legend,
  );

  /**
   * @param {Series[]} series in the order of the names @param {string} said what it is now
   * @param {string} span how far it goes back @param {string} sentence for those who don't see it
   */
  function draw(series, said, span, sentence) {
    const slots = Math.max(1, ...series.map((one) => one.values.length));
    const sums = Array.from({ length: slots }, (_, place) =>
      series.reduce((sum, one) => sum + (one.values[place] ?? 0), 0),
    );
    empty.hidden = sums.some((sum) => sum > 0);
    const scale = ceiling(Math.max(...sums));
    const floor = new Array(slots).fill(0);
    const step = WIDTH / slots;
    series.forEach((one, index) => {
      const bars = one.values.map((value, place) => {
        if (!value) return "";
        const bottom = HEIGHT - (floor[place] / scale) * HEIGHT;
        const high = (value / scale) * HEIGHT;
        floor[place] += value;
        const x = (place * step).toFixed(2);
        const wide = (step * 0.8).toFixed(2);
        return `M${x} ${bottom.toFixed(2)}v${(-high).toFixed(2)}h${wide}v${high.toFixed(2)}z`;
      });
      paths[index].setAttribute("d", bars.join(""));
    });
    picture.setAttribute("aria-label", sentence);
    setText(now, said);
    setText(top, count(scale));
    setText(from, span);
  }

  return { node, draw };
}
