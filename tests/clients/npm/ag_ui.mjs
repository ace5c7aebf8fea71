/** Runs AG-UI's HttpAgent step by step; prints how each run ended and which messages were left. */

import { randomUUID } from "node:crypto";

import { HttpAgent } from "@ag-ui/client";

import { answer, wanted } from "./harness.mjs";

// A drop in mid-stream also rejects inside the client, where nobody can handle it.
process.on("unhandledRejection", () => {});
// What the client would only warn of is to fail the test.
const warnings = [];
console.warn = (...words) => warnings.push(words.map(String).join(" "));

/** One page: an agent on a thread, and what a person does with it. */
class Page {
  constructor({ url, thread, props }) {
    this.props = props;
    this.open = (messages) => {
      this.agent = new HttpAgent({ url, threadId: thread, initialMessages: messages });
    };
    this.open([]);
  }

  /** Says something in a new run, or again with the same id; gives up after so many characters. */
  async run({ run, text, leaveAfter }) {
    if (text) this.agent.addMessage({ id: randomUUID(), role: "user", content: text });
    this.seen = [];
    const input = { runId: run, forwardedProps: this.props };
    const onEvent = ({ event }) => {
      this.seen.push(event);
      if (leaveAfter && shownText(this.agent.messages).length >= leaveAfter) this.agent.abortRun();
    };
    try {
      await this.agent.runAgent(input, { onEvent });
      this.ended = "resolved";
    } catch (error) {
      this.ended = `rejected: ${error.message}`;
    }
  }

  /** Opens the page anew, with some of its messages. */
  async reload({ keep }) {
    const { messages } = this.agent;
    this.open(keep === "all" ? messages : messages.filter(({ role }) => role === keep));
  }

  shown = () => ({ ended: this.ended, events: this.seen, messages: this.agent.messages });
}

const shownText = (messages) =>
  messages.at(-1)?.role === "assistant" ? (messages.at(-1).content ?? "") : "";

async function play({ steps, ...page }) {
  const played = new Page(page);
  const shown = [];
  for (const { act, ...details } of steps) {
    await played[act](details);
    shown.push(structuredClone(played.shown()));
  }
  return shown;
}

const pages = await Promise.all((await wanted()).map(play));
answer({ pages, warnings });
