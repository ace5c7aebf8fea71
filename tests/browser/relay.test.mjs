// `relay.js` in Node: the same file, against a scripted server and, with RELAY_URL, a real relay.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { FollowError, createParser, follow } from "../../relay/web/relay.js";

const frame = (type, id, data) =>
  `${id ? `id: ${id}\n` : ""}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
const token = (seq, text) => frame("token", `1.${seq}.0`, { text });
const FINAL = { id: "gen_1", state: "completed", output: { text: "whole" } };
const END = frame("completed", "1.9.0", { generation: FINAL });
const RETRY = "retry: 10\n\n";

/**
 * Each answer: a status, with headers, or what is written; "cut" drops the connection, "hold" keeps
 * it open. The resource answers with the statuses in `refusals` first.
 */
let answers = [];
let refusals = [];
let asked = [];
let resources = 0;
let server;
let root;

before(async () => {
  server = createServer((request, response) => {
    if (!request.url.includes("/events")) {
      resources += 1;
      response.writeHead(refusals.shift() ?? 200).end(JSON.stringify(FINAL));
      return;
    }
    asked.push(request);
    const answer = answers.shift();
    if (!Array.isArray(answer)) {
      const { status, headers } = typeof answer === "number" ? { status: answer } : answer;
      response.writeHead(status, headers).end();
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const piece of answer) {
      if (piece === "cut") setTimeout(() => response.destroy(), 20);
      else if (piece !== "hold") response.write(piece);
    }
    if (!answer.includes("cut") && !answer.includes("hold")) response.end();
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  root = `http://127.0.0.1:${server.address().port}/`;
});

after(() => {
  server.closeAllConnections();
  server.close();
});

/** Lets waits pass at once, with this much of chance; the milliseconds that each was to take. */
function hurried(t, chance = 0) {
  const waits = [];
  const sleep = setTimeout;
  t.mock.method(Math, "random", () => chance);
  t.mock.method(globalThis, "setTimeout", (wake, ms, ...given) => {
    // Node's own fetch has timers too, and silence is not what is waited for here.
    if (ms === 30_000 || !new Error().stack.includes("/web/relay.js"))
      return sleep(wake, ms, ...given);
    waits.push(Math.round(ms));
    return sleep(wake, 1);
  });
  return waits;
}

/** Lets no silence pass by itself; what this gives lets the one that is waited for pass. */
function silenced(t) {
  const sleep = setTimeout;
  let pass;
  t.mock.method(globalThis, "setTimeout", (wake, ms, ...given) => {
    if (ms === 30_000 && new Error().stack.includes("/web/relay.js")) pass = wake;
    return sleep(wake, ms, ...given);
  });
  return () => setImmediate(() => pass());
}

/** Follows over these answers; what came, and how it ended. */
async function play(script, { onEvent, ...options } = {}) {
  answers = [...script];
  asked = [];
  resources = 0;
  const events = [];
  const hear = (event) => {
    events.push(event);
    onEvent?.(event);
  };
  const reader = follow("gen_1", { root, onEvent: hear, ...options });
  const final = await reader.done.catch((error) => error);
  const cursors = asked.map((request) => request.headers["last-event-id"] ?? null);
  return { final, cursors, text: events.map(({ data }) => data.text ?? "").join(""), events };
}

test("a cut stream is taken up after the last event", async () => {
  const { final, cursors, text } = await play([
    [RETRY, token(1, "a"), token(2, "b"), 'event: token\ndata: {"te', "cut"],
    502,
    [token(3, "c"), END],
  ]);
  assert.deepEqual(final, FINAL);
  assert.equal(text, "abc");
  assert.deepEqual(cursors, [null, "1.2.0", "1.2.0"]);
});

test("a stream that says nothing is taken for dead", async (t) => {
  const pass = silenced(t);
  const onEvent = ({ type }) => type === "token" && pass();
  const { text, cursors } = await play([[RETRY, token(1, "a"), "hold"], [END]], { onEvent });
  assert.equal(text, "a");
  assert.deepEqual(cursors, [null, "1.1.0"]);
});

test("a token goes with every request, and a refusal ends it", async () => {
  const { final } = await play([[RETRY, token(1, "a")], 401], { token: () => "prt_1" });
  assert.ok(final instanceof FollowError);
  assert.equal(final.code, "unauthorized");
  assert.deepEqual(
    asked.map((one) => one.headers.authorization),
    ["Bearer prt_1", "Bearer prt_1"],
  );
});

test("a root is a folder with and without its last slash, as text and as a URL", async () => {
  for (const given of [`${root}below`, `${root}below/`, new URL("below", root)]) {
    const { final } = await play([[END]], { root: given });
    assert.deepEqual(final, FINAL);
    assert.equal(asked[0].url, "/below/v1/generations/gen_1/events");
  }
});

test("an onConnection that throws is reported and changes nothing", async (t) => {
  const { mock } = t.mock.method(console, "error", () => {});
  const told = [];
  const onConnection = (connection) => {
    told.push(connection);
    throw new Error("mine");
  };
  const { final, cursors, text } = await play([[RETRY, token(1, "a")], [END]], { onConnection });
  assert.deepEqual(final, FINAL);
  assert.equal(text, "a");
  assert.deepEqual(cursors, [null, "1.1.0"]);
  assert.deepEqual(told, ["connecting", "open", "waiting", "connecting", "open", "ended"]);
  assert.deepEqual(
    mock.calls.map((call) => call.arguments[0].message),
    told.map(() => "mine"),
  );
});

test("where there is reportError it hears what onConnection throws", async (t) => {
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  t.after(() => delete globalThis.reportError);
  const onConnection = () => {
    throw new Error("mine");
  };
  const { final } = await play([[END]], { onConnection });
  assert.deepEqual(final, FINAL);
  assert.deepEqual(reported, ["mine", "mine", "mine"]);
});

test("a refused ticket is renewed", async () => {
  let tickets = 0;
  const ticket = async () => `${root}v1/generations/gen_1/events?ticket=${(tickets += 1)}`;
  const { final } = await play([[RETRY, token(1, "a")], 401, [END]], { ticket });
  assert.deepEqual(final, FINAL);
  assert.deepEqual(
    asked.map(({ url }) => url.split("=")[1]),
    ["1", "1", "2"],
  );
});

test("nothing more to say gives what became of it", async () => {
  const { final, events } = await play([204], { after: "1.9.0" });
  assert.deepEqual(final, FINAL);
  assert.deepEqual(events, []);
});

test("a closed reader asks no more", async () => {
  answers = [[RETRY, token(1, "a"), "hold"]];
  const reader = follow("gen_1", { root, onEvent: () => reader.close() });
  await assert.rejects(reader.done, { code: "closed" });
});

test("a ticket that never comes is left as a silent stream is", async (t) => {
  const pass = silenced(t);
  const never = new Promise(() => {});
  const tickets = [never, never, `${root}v1/generations/gen_1/events?ticket=3`];
  const ticket = () => {
    if (tickets[0] === never) pass();
    return tickets.shift();
  };
  const { final } = await play([[RETRY, END]], { ticket });
  assert.deepEqual(final, FINAL);
  assert.equal(tickets.length, 0);
});

test("a reader that waits for a ticket or a token can be closed", async () => {
  for (const credential of ["ticket", "token"]) {
    let reader;
    const wait = () => {
      setTimeout(() => reader.close(), 10);
      return new Promise(() => {});
    };
    reader = follow("gen_1", { root, onEvent() {}, [credential]: wait });
    await assert.rejects(reader.done, { code: "closed" });
  }
});

test("a closed reader whose end nobody awaits is no unhandled error", async () => {
  const unhandled = [];
  const note = (error) => unhandled.push(error);
  process.on("unhandledRejection", note);
  answers = [[RETRY, token(1, "a"), "hold"]];
  await new Promise((ended) => {
    const onConnection = (now) => now === "ended" && setTimeout(ended, 10);
    const reader = follow("gen_1", { root, onEvent: () => reader.close(), onConnection });
  });
  process.off("unhandledRejection", note);
  assert.deepEqual(unhandled, []);
});

test("a ticket's path is one of the API's server, and a token may be a promise", async () => {
  const ticket = async () => "/v1/generations/gen_1/events?ticket=1";
  const token = async () => "prt_1";
  const { final } = await play([[END]], { ticket, token });
  assert.deepEqual(final, FINAL);
  assert.equal(asked[0].url, "/v1/generations/gen_1/events?ticket=1");
  assert.equal(asked[0].headers.authorization, "Bearer prt_1");
});

test("a ticket that is refused for good ends it, and for another reason is asked for again", async (t) => {
  hurried(t);
  let refusals = 2;
  const refused = async () => Promise.reject({ status: refusals-- > 0 ? 500 : 403 });
  const { final } = await play([], { ticket: refused });
  assert.equal(final.code, "unauthorized");
  assert.equal(refusals, -1);
  assert.deepEqual(asked, []);
});

test("nothing more to say, and a resource that is refused, is an error and no end", async () => {
  refusals = [403];
  const { final } = await play([204], { after: "1.9.0" });
  assert.ok(final instanceof FollowError);
  assert.equal(final.code, "unauthorized");
});

test("nothing more to say, and a resource that is busy, is asked again", async (t) => {
  hurried(t);
  refusals = [429, 503];
  const { final } = await play([204, 204, 204], { after: "1.9.0" });
  assert.deepEqual(final, FINAL);
  assert.equal(resources, 3);
});

test("a resource that can't be had does not keep from the stream", async (t) => {
  hurried(t);
  refusals = [500, 401];
  const { final, events } = await play([502, 502, 502, 502, 502, 502, [END]]);
  assert.deepEqual(final, FINAL);
  assert.equal(resources, 2);
  assert.equal(events.length, 1);
});

test("one Retry-After is waited out in full, once", async (t) => {
  const waits = hurried(t);
  const later = { status: 429, headers: { "retry-after": "7" } };
  await play([later, later, 502, [token(1, "a")], [END]]);
  assert.deepEqual(waits, [7000, 7000, 2560, 1000]);
});

test("chance only adds to a wait, and a quarter at most", async (t) => {
  const waits = hurried(t, 1);
  const later = (seconds) => ({ status: 503, headers: { "retry-after": seconds } });
  await play([later("7"), later("99999"), later("soon"), later("-5"), [END]]);
  assert.deepEqual(waits, [8750, 75_000, 3200, 5120]);
});

for (const [told, ms] of [
  ["0", 100],
  ["50", 100],
  ["250", 250],
  ["99999999999", 10_000],
  ["-1", 1000],
  ["soon", 1000],
]) {
  test(`a stream's retry: ${told} makes a wait of ${ms} ms`, async (t) => {
    const waits = hurried(t);
    await play([[`retry: ${told}\n\n`, token(1, "a")], [END]]);
    assert.deepEqual(waits, [ms]);
  });
}

test("a page of a proxy is no stream", async (t) => {
  const waits = hurried(t);
  const connections = [];
  const onConnection = (now) => connections.push(now);
  const page = { status: 200, headers: { "content-type": "text/html" } };
  const { final } = await play([page, [END]], { onConnection });
  assert.deepEqual(final, FINAL);
  assert.deepEqual(connections, ["connecting", "waiting", "connecting", "open", "ended"]);
  assert.equal(waits.length, 1);
});

for (const what of ["token", "ticket"]) {
  test(`a ${what} that throws is asked for again, and nothing is left unhandled`, async (t) => {
    hurried(t);
    let tries = 0;
    const give = () => {
      tries += 1;
      if (tries < 3) throw new Error("not yet");
      return what === "token" ? "t" : `${root}v1/generations/gen_1/events`;
    };
    const { final } = await play([[END]], { [what]: give });
    assert.deepEqual(final, FINAL);
    assert.equal(tries, 3);
  });
}

test("the longest silence that can be given is no short one", async () => {
  const { cursors } = await play([[token(1, "a"), END]], { silenceMs: Infinity });
  assert.deepEqual(cursors, [null]);
});

test("the data of an event may hold any character", () => {
  const found = [];
  const feed = createParser((one) => found.push(one));
  const text = "a\u2028id: 9\u2029event: x: y";
  for (const character of frame("token", "1.1.0", { text })) feed(character);
  assert.deepEqual(found, [{ type: "token", id: "1.1.0", data: JSON.stringify({ text }) }]);
});

test(
  "the text of a real relay is the committed turn",
  { skip: !process.env.RELAY_URL },
  async () => {
    const url = process.env.RELAY_URL;
    const answer = await fetch(new URL("v1/generations", url), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ kind: "chat", input: "Count", model: "demo-tokens-40-80" }),
    });
    const { id, conversation_id: conversation } = await answer.json();
    let text = "";
    let cuts = 0;
    let reader;
    const onEvent = ({ type, data }) => {
      if (type === "token") text += data.text;
      // Left in the middle, and taken up by another reader.
      if (text.split(" ").length > 10 && cuts === 0) {
        cuts += 1;
        reader.close();
      }
    };
    reader = follow(id, { root: url, onEvent });
    await assert.rejects(reader.done, { code: "closed" });
    reader = follow(id, { root: url, onEvent, after: reader.cursor });
    assert.equal((await reader.done).state, "completed");
    const { turns } = await (await fetch(new URL(`v1/conversations/${conversation}`, url))).json();
    assert.equal(text, turns.at(-1).text);
  },
);
