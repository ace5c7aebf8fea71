/**
 * A chat with the AI SDK's useChat, no framework around it: reload it in mid-answer, and it goes on.
 *
 *     RELAY_ALLOWED_ORIGINS=http://localhost:3000 make run     # the relay
 *     npm install && npm start                                 # this page: http://localhost:3000
 *
 * `?relay=` names another relay, `?chat=` another chat, `?model=` a model.
 */

import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const asked = new URLSearchParams(location.search);
const relay = asked.get("relay") ?? "http://localhost:8000";
const chat = asked.get("chat") ?? "example";
const model = asked.get("model") ?? undefined;

/** What this page showed before a reload; the relay has the rest. */
const shownBefore = JSON.parse(localStorage.getItem(chat) ?? "[]");
const transport = new DefaultChatTransport({ api: `${relay}/ai/chat`, body: { model } });

function Chat() {
  const [text, setText] = useState("");
  const { messages, status, error, sendMessage, resumeStream, regenerate } = useChat({
    id: chat,
    messages: shownBefore,
    transport,
    // On mount: an answer that goes on, or has just ended, is shown from its start.
    resume: true,
  });
  useEffect(() => localStorage.setItem(chat, JSON.stringify(messages)), [messages]);

  const answering = status === "submitted" || status === "streaming";
  const send = (event) => {
    event.preventDefault();
    sendMessage({ text });
    setText("");
  };
  // useChat's own stop() only leaves; this one ends the answer for every reader.
  const stop = () => fetch(`${relay}/ai/chat/${encodeURIComponent(chat)}/stop`, { method: "POST" });

  return (
    <>
      {messages.map(({ id, role, parts }) => (
        <article key={id} className={role}>
          {parts.map((part) => (part.type === "text" ? part.text : "")).join("")}
        </article>
      ))}
      {error && (
        <p role="alert">
          {error.message} <button onClick={() => resumeStream()}>Go on</button>
        </p>
      )}
      <form onSubmit={send}>
        <input value={text} onChange={(event) => setText(event.target.value)} aria-label="Message" />
        <button disabled={answering || !text.trim()}>Send</button>
        <button type="button" onClick={stop} disabled={!answering}>Stop</button>
        <button type="button" onClick={() => regenerate()} disabled={answering || !messages.length}>
          Again
        </button>
      </form>
      <p role="status">{status}</p>
    </>
  );
}

createRoot(document.getElementById("chat")).render(<Chat />);
