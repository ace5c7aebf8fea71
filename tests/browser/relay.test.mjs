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

/** Each answer: a status, or what is written; "cut" drops the connection, "hold" keeps it open. */
let answers = [];
let asked = [];
let server;
let root;

before(async () => {
  server = createServer((request, response) => {
    if (!request.url.includes("/events")) {
      response.end(JSON.stringify(FINAL));
      return;
    }
    asked.push(request);
    const answer = answers.shift();
    if (typeof answer === "number") {
      response.writeHead(answer).end();
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

/** Follows over these answers; what came, and how it ended. */
async function play(script, options = {}) {
  answers = [...script];
  asked = [];
  const events = [];
  const reader = follow("gen_1", { root, onEvent: (event) => events.push(event), ...options });
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

test("a stream that says nothing is taken for dead", async () => {
  const { text, cursors } = await play([[RETRY, token(1, "a"), "hold"], [END]], { silenceMs: 100 });
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
