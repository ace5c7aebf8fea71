/** Chats with the AI SDK's own state machine, step by step; prints what each chat showed after each. */

import { Chat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { DefaultChatTransport as DefaultChatTransport6 } from "ai-6";
import { Chat as Chat6 } from "ai-sdk-react-6";

import { answer, wanted } from "./harness.mjs";

const VERSIONS = { 6: [Chat6, DefaultChatTransport6], 7: [Chat, DefaultChatTransport] };

/** One tab: a chat, and what a person or a page does with it. */
class Tab {
  constructor({ api, id, body, version = 7 }) {
    const [OfVersion, Transport] = VERSIONS[version];
    this.api = api;
    this.id = id;
    const transport = new Transport({ api, body });
    const onData = (part) => this.transient.push(part);
    this.chatOf = (messages) => new OfVersion({ id, messages, transport, onData });
    this.open([]);
  }

  /** Opens the page anew, with these messages in it. */
  open(messages) {
    this.transient = [];
    this.chat = this.chatOf(messages);
  }

  send = ({ text }) => this.chat.sendMessage({ text });

  /** Sends what was sent before once more, under the same message id. */
  again = ({ message }) => this.chat.sendMessage(message);
  resume = () => this.chat.resumeStream();
  regenerate = ({ at }) =>
    this.chat.regenerate(at === undefined ? {} : { messageId: this.chat.messages.at(at).id });

  /** Says another thing in the place of what was said before; what came after that is dropped. */
  edit = ({ at, text }) =>
    this.chat.sendMessage({ text, messageId: this.chat.messages.at(at).id });

  /** Sends, and loses interest once so much text is there, as a closed tab does. */
  async leave({ text, characters }) {
    const sent = this.chat.sendMessage({ text });
    await this.shows(characters);
    await this.chat.stop();
    await sent;
  }

  /** Sends, and presses a stop button that tells the server, once so much text is there. */
  async stop({ text, characters }) {
    const sent = this.chat.sendMessage({ text });
    await this.shows(characters);
    const path = `${this.api}/${encodeURIComponent(this.id)}/stop`;
    const stopped = await fetch(path, { method: "POST" });
    this.stopped = [stopped.status, await stopped.json()];
    await sent;
  }

  async reload({ keep }) {
    const { messages } = this.chat;
    this.open(keep === "all" ? messages : messages.filter(({ role }) => role === keep));
  }

  async shows(characters) {
    while (shownText(this.chat.messages.at(-1)).length < characters) {
      if (this.chat.status === "error") throw this.chat.error;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  shown = () => ({
    status: this.chat.status,
    error: this.chat.error?.message ?? null,
    messages: this.chat.messages,
    transient: this.transient,
    stopped: this.stopped ?? null,
  });
}

const shownText = (message) =>
  message?.role === "assistant"
    ? message.parts.map((part) => (part.type === "text" ? part.text : "")).join("")
    : "";

async function play({ steps, ...tab }) {
  const played = new Tab(tab);
  const shown = [];
  for (const { act, ...details } of steps) {
    await played[act](details);
    shown.push(played.shown());
  }
  return shown;
}

answer(await Promise.all((await wanted()).map(play)));
