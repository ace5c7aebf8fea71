/** What every driver does: reads what is wanted from stdin, prints one JSON document, fails loudly. */

/** @returns {Promise<any>} the JSON document that the test wrote */
export async function wanted() {
  const pieces = [];
  for await (const piece of process.stdin) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces).toString());
}

/** Prints the answer and ends, whatever timers or sockets a client has left. @param {any} answer */
export function answer(answer) {
  process.stdout.write(JSON.stringify(answer), () => process.exit(0));
}
