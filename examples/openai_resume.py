"""Asks a relay with the openai SDK; killed at any moment and started again, it goes on from there.

    pip install openai
    export OPENAI_BASE_URL=http://127.0.0.1:8000/openai/v1 OPENAI_API_KEY=prt_…
    python openai_resume.py answer.json "Tell me a story"

`answer.json` is all that it remembers: the key under which it asks, the response, the number of the
last event that it has seen, and the text up to there. The answer goes to stdout, what becomes of
the connection to stderr.
`OPENAI_MODEL` may name a model; the relay's own default answers else.
"""

import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import openai

PAUSE_SECONDS = 0.5
LAST_EVENTS = ("response.completed", "response.failed", "response.incomplete")


def main(path: Path, prompt: str) -> int:
    """Exit status 0 once the answer is complete, 1 if it never will be."""
    client = openai.OpenAI()
    if not path.exists():
        # Before it asks: asking once more under the same key finds the response that is there.
        remember({"key": str(uuid.uuid4()), "seen": -1, "text": ""}, path)
    answer = json.loads(path.read_text())
    sys.stdout.write(answer["text"])
    while True:
        try:
            last = follow(client, answer, path, prompt)
        except openai.APIConnectionError as error:
            last = None
            say(f"the connection broke: {error}")
        if last is not None:
            say(f"{last.status}{f': {last.error.message}' if last.error else ''}")
            return 0 if last.status == "completed" else 1
        # Without its last event a stream is not over, however it ended.
        time.sleep(PAUSE_SECONDS)


def follow(client: openai.OpenAI, answer: dict[str, Any], path: Path, prompt: str) -> Any:
    """The final response, or None if the stream ended before it was told."""
    if "id" in answer:
        say(f"going on after event {answer['seen']} of {answer['id']}")
        events = client.responses.retrieve(answer["id"], stream=True, starting_after=answer["seen"])
    else:
        model = os.environ.get("OPENAI_MODEL") or openai.omit
        key = {"Idempotency-Key": answer["key"]}
        events = client.responses.create(
            model=model, input=prompt, background=True, stream=True, extra_headers=key
        )
    for event in events:
        if event.type == "response.created":
            answer.update(id=event.response.id, text="")
        piece = event.delta if event.type == "response.output_text.delta" else ""
        answer.update(seen=event.sequence_number, text=answer["text"] + piece)
        remember(answer, path)
        sys.stdout.write(piece)
        sys.stdout.flush()
        if event.type in LAST_EVENTS:
            return event.response
    # Killed after the last event, it finds nothing more to be told.
    response = client.responses.retrieve(answer["id"])
    ended = response.status in ("completed", "failed", "cancelled", "incomplete")
    return response if ended and response.output_text == answer["text"] else None


def remember(answer: dict[str, Any], path: Path) -> None:
    """Writes it in one step, so that whenever this process dies the file is whole."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(answer))
    os.replace(fresh, path)


def say(what: str) -> None:
    """A line for whoever watches."""
    sys.stderr.write(f"[{what}]\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
