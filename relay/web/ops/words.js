/**
 * What figures say in words: durations, numbers, and what an operator should look at. Pure.
 */

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** @type {[number, string][]} */
const UNITS = [
  [86_400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

export const LATE_SECONDS = 30;
/** A worker that has been silent for longer is history. */
export const GONE_SECONDS = 900;

/** A count as a person reads it. */
export const count = (/** @type {number} */ value) =>
  (value < 10_000 ? WHOLE : SHORT).format(value);

/** A span of time, in its two largest units. */
export function duration(/** @type {number} */ seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const first = UNITS.findIndex(([size]) => whole >= size);
  if (first < 0) return "0 s";
  const [size, name] = UNITS[first];
  const [next, nextName] = UNITS[first + 1] ?? [1, ""];
  const rest = Math.floor((whole % size) / next);
  return `${Math.floor(whole / size)} ${name}${rest && nextName ? ` ${rest} ${nextName}` : ""}`;
}

const some = (
  /** @type {number} */ number,
  /** @type {string} */ one,
  /** @type {string} */ more,
) => `${count(number)} ${number === 1 ? one : more}`;

/**
 * What is wrong, the worst first; empty when all is well.
 *
 * @param {any} figures
 * @returns {string[]}
 */
export function troubles(figures) {
  const found = [];
  if (!figures.database) found.push("The database can't be reached.");
  if (!figures.redis) found.push("Redis can't be reached: streams stand still.");
  const alive = figures.workers?.filter((/** @type {any} */ one) => one.alive).length;
  if (alive === 0) found.push("No worker is alive: nothing runs.");
  for (const one of figures.breakers ?? [])
    if (one.state !== "closed") found.push(`The model ${one.model} does not answer.`);
  const silent = (figures.workers ?? []).filter(
    (/** @type {any} */ one) => !one.alive && one.silent_seconds < GONE_SECONDS,
  ).length;
  if (silent) found.push(`${some(silent, "worker has", "workers have")} gone silent.`);
  const { lost = 0, queued = 0, oldest_queued_seconds: oldest = 0 } = figures.generations ?? {};
  if (lost) found.push(`${some(lost, "generation has", "generations have")} lost their worker.`);
  if (queued && oldest >= LATE_SECONDS)
    found.push(
      `${some(queued, "generation waits", "generations wait")} for up to ${duration(oldest)}.`,
    );
  return found;
}

/** How many a minute, over the last whole minute of these slices. */
export function aMinute(/** @type {number[]} */ slices, /** @type {number} */ sliceSeconds) {
  const last = slices.slice(-Math.round(60 / sliceSeconds));
  return last.reduce((sum, one) => sum + one, 0);
}

/**
 * Sums of whole minutes, the newest first.
 *
 * @param {number[]} slices @param {number} sliceSeconds
 */
export function byMinute(slices, sliceSeconds) {
  const size = Math.round(60 / sliceSeconds);
  const minutes = [];
  for (let end = slices.length; end - size >= 0; end -= size)
    minutes.push(aMinute(slices.slice(end - size, end), sliceSeconds));
  return minutes;
}
