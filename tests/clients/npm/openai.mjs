/** Does with the openai SDK what each task says, all tasks at once, and prints what became of them. */

import OpenAI, { APIError } from "openai";

import { answer, wanted } from "./harness.mjs";

const LAST = new Set(["response.completed", "response.failed", "response.incomplete"]);

const clientOf = ({ url, maxRetries = 0 }) =>
  new OpenAI({ apiKey: "none", baseURL: `${url}/openai/v1`, maxRetries });

/** Creates a response or takes up one, and asks again after what it has seen whenever it is cut. */
async function follow(task) {
  const client = clientOf(task);
  const events = [];
  let id = task.id;
  let errors = 0;
  let earlyEnds = 0;
  while (!LAST.has(events.at(-1)?.type)) {
    const after = events.length ? { starting_after: events.at(-1).sequence_number } : {};
    try {
      const stream = id
        ? await client.responses.retrieve(id, { stream: true, ...after })
        : await client.responses.create({ ...task.body, background: true, stream: true });
      for await (const event of stream) {
        events.push(event);
        id ??= event.response.id;
      }
      if (!LAST.has(events.at(-1)?.type)) earlyEnds += 1;
    } catch (error) {
      errors += 1;
    }
  }
  return { id, events, errors, earlyEnds };
}

/** Rebuilds a response with the SDK's own helper, from an event on. */
async function rebuild(task) {
  const numbers = [];
  const stream = clientOf(task).responses.stream({
    response_id: task.id,
    starting_after: task.startingAfter,
  });
  for await (const event of stream) numbers.push(event.sequence_number);
  return { numbers, final: await stream.finalResponse() };
}

/** Every call that is no stream, in the order in which a client makes them. */
async function calls(task) {
  const { responses } = clientOf(task);
  const ended = await responses.create({ ...task.body, input: "one" });
  const next = await responses.create({
    ...task.body, input: "two", previous_response_id: ended.id,
  });
  const silent = await responses.create({ model: task.silent, input: "three", background: true });
  const cancelled = await responses.cancel(silent.id);
  const items = await responses.inputItems.list(ended.id);
  await responses.delete(ended.id);
  const gone = await responses.retrieve(ended.id).catch((error) => error);
  const refused = await responses.create({ ...task.body, input: "" }).catch((error) => error);
  return {
    ended,
    next,
    cancelled,
    items: items.data,
    gone: gone instanceof APIError && [gone.status, gone.constructor.name, gone.message],
    refused: refused instanceof APIError && [refused.status, refused.param, refused.type],
  };
}

/** One request whose answers are lost on the way; the SDK tries again by itself. */
const once = async (task) => clientOf(task).responses.create({ ...task.body, background: true });

const TASKS = { follow, rebuild, calls, once };

answer(await Promise.all((await wanted()).map((task) => TASKS[task.do](task))));
