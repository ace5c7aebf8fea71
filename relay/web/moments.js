/**
 * How a moment is told: in short, as the reader's own language has it.
 */

const DAY = /** @type {const} */ ({ day: "numeric", month: "short" });

/** The time of today, else the day. */
export function moment(/** @type {string} */ made) {
  const then = new Date(made);
  return isToday(then) ? time(then) : then.toLocaleDateString(undefined, DAY);
}

/** The time, with the day unless it is today, and the year unless it is this one. */
export function exactly(/** @type {string} */ made) {
  const then = new Date(made);
  if (isToday(then)) return time(then);
  const isThisYear = then.getFullYear() === new Date().getFullYear();
  const day = isThisYear ? DAY : { ...DAY, year: /** @type {const} */ ("numeric") };
  return then.toLocaleString(undefined, { ...day, hour: "numeric", minute: "2-digit" });
}

function isToday(/** @type {Date} */ then) {
  return then.toDateString() === new Date().toDateString();
}

function time(/** @type {Date} */ then) {
  return then.toLocaleTimeString(undefined, { timeStyle: "short" });
}
