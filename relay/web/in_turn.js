/**
 * Reads things one after another, a few at a time: what was asked for last comes first, and of very many
 * those that were asked for first are left out.
 */

const AT_ONCE = 4;
const WAITING = 40;

/**
 * @param {(id: string) => Promise<void>} read
 * @returns {(id: string) => void} asks for one; while that waits or is being read, asking again does nothing
 */
export function inTurn(read) {
  /** @type {string[]} */
  const waiting = [];
  /** @type {Set<string>} */
  const reading = new Set();

  function next() {
    while (reading.size < AT_ONCE && waiting.length > 0) {
      const id = /** @type {string} */ (waiting.pop());
      reading.add(id);
      void read(id).finally(() => {
        reading.delete(id);
        next();
      });
    }
  }

  return (id) => {
    if (reading.has(id) || waiting.includes(id)) return;
    waiting.push(id);
    if (waiting.length > WAITING) waiting.shift();
    next();
  };
}
