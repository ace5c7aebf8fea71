"""A generation's events as a terminal shows them: its text as it comes, the rest as notes."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec

from jobs.errors import NotFound, Unavailable
from jobs.generation import State
from jobs.store.reads import read_stream_row
from relay.commands.showing import inert, note
from relay.follow import Follower, read_cursor
from relay.services import Services

AGAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Event:
    """One event off the stream; `id` is None for one that is no part of the log."""

    id: str | None
    name: str
    data: bytes


Show = Callable[[Event], None]


def read_events(chunk: bytes) -> Iterator[Event]:
    """The events in a chunk of whole frames, in order (protocol §5)."""
    for block in chunk.split(b"\n\n"):
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line)
        if b"event" in fields:
            name = fields[b"event"].decode()
            id = fields[b"id"].decode() if b"id" in fields else None
            yield Event(id, name, fields.get(b"data", b"null"))


async def tail(services: Services, generation_id: str, show: Show) -> State:
    """Shows all events of a generation, past ones first, until its end; the state it ended in.

    A database that is away meanwhile is waited for. Raises NotFound.
    """
    lease = services.settings.jobs.relay_lease_seconds
    row = await read_stream_row(services.db, generation_id, lease_seconds=lease)
    if row is None:
        raise NotFound(generation_id)
    ended = row if row.state.terminal else None
    cursor: str | None = None
    told = False
    while True:
        follower = Follower(services.sources, generation_id, read_cursor(cursor), ended)
        try:
            if ended is None and not await follower.join():
                note("Redis is not reachable: what is new shows when the database has it")
            async with aclosing(follower.events()) as chunks:
                async for chunk in chunks:
                    told = False
                    for event in read_events(chunk):
                        show(event)
                        cursor = event.id or cursor
                        if event.name in _ENDS:
                            return State(event.name)
        except Unavailable as error:
            if not told:
                note(f"{error}: waiting for it")
            told = True
            await asyncio.sleep(AGAIN_SECONDS)
        finally:
            follower.close()


_ENDS = frozenset(state.value for state in State if state.terminal)


def show_as_json(event: Event) -> None:
    """Prints a logged event as a line of JSON: `{"id","event","data"}`; others are left out."""
    if event.id is not None:
        line = b'{"id":"%s","event":"%s","data":%s}\n'
        _write(line % (event.id.encode(), event.name.encode(), event.data))


class ShowText:
    """Prints the text on stdout as it comes, and on stderr what else happens."""

    def __init__(self) -> None:
        self._in_line = False
        self._worker = "alive"
        # A file or a pipe gets the very text; a terminal nothing that could steer it.
        self._guard = inert if sys.stdout.isatty() else str

    def __call__(self, event: Event) -> None:
        """Takes the next event."""
        data = msgspec.json.decode(event.data)
        if event.name == "token":
            text: str = data["text"]
            self._in_line = not text.endswith("\n")
            _write(self._guard(text).encode())
        elif event.name == "heartbeat":
            self._hear(data)
        elif said := _said(event.name, data):
            self._end_line()
            note(said)

    def _hear(self, data: Any) -> None:
        worker = data["worker"]
        if worker != self._worker and data["state"] == "running":
            self._end_line()
            note("a worker has it" if worker == "alive" else "its worker was lost; waiting")
        self._worker = worker

    def _end_line(self) -> None:
        if self._in_line:
            _write(b"\n")
            self._in_line = False


def _said(name: str, data: Any) -> str | None:
    """What a note says of an event that is no text; None for what is not worth one."""
    if name == "status":
        return f"{data['state']}, attempt {data['attempt']}"
    if name == "reset":
        return f"reset, {data['reason']}: forget the text above, attempt {data['attempt']} follows"
    if name == "file":
        return f"file {data['path']}: {data['op']}, {data['bytes']} bytes"
    if name == "skill":
        return f"skill {data['requested']}: {data['matched'] or 'none like it'}"
    if name == "notice":
        return f"{data['code']}: {data['message']}"
    if name in _ENDS:
        return ending(data["generation"])
    return None


def ending(generation: Any) -> str:
    """How a generation ended, in a line; `generation` is the resource as JSON gives it."""
    error = generation["error"]
    output = generation["output"]
    parts: list[str] = []
    if error:
        parts += [error["code"], error["message"]]
    if output:
        parts.append(f"{output['characters']} characters")
        if output["persona_version"] is not None:
            parts.append(f"version {output['persona_version']}")
        if output["finish_reason"] not in (None, "stop"):
            parts.append(f"finish reason {output['finish_reason']}")
    state: str = generation["state"]
    return f"{state}: {', '.join(parts)}" if parts else state


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
