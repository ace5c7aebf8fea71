"""`generations tail`: what a stream's bytes become on a terminal."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cursor import Cursor
from jobs.events import (
    Heartbeat,
    Notice,
    Reset,
    Status,
    frame,
    retry_frame,
    token_frame,
    unnumbered_frame,
)
from jobs.generation import Failure, FileChange, SkillChoice, State, encode
from jobs.timeline import pack
from relay.commands.tail import ShowText, read_events, show_as_json
from tests.cli.conftest import Does, Terminal
from tests.conformance.acts import Acts, outcome

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(TEXTS, max_size=6))
def test_events_are_read_as_they_were_framed(texts: list[str]) -> None:
    frames = [token_frame(Cursor(1, n, n), text) for n, text in enumerate(texts, 1)]
    events = list(read_events(retry_frame(1000) + b"".join(frames)))
    assert [event.id for event in events] == [f"1.{n}.{n}" for n in range(1, len(texts) + 1)]
    assert [msgspec.json.decode(event.data)["text"] for event in events] == texts


def _numbered(name: Any, data: object) -> bytes:
    return frame(Cursor(2, 1, 0), name, encode(data))


def test_the_text_is_on_stdout_and_all_else_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    show = ShowText()
    heartbeat = Heartbeat(State.RUNNING, 1, 2, "lost", 3.0)
    stream = [
        _numbered("status", Status(State.RUNNING, 1)),
        token_frame(Cursor(1, 2, 4), "Chid"),
        token_frame(Cursor(1, 3, 7), "É 🎉"),
        unnumbered_frame("heartbeat", heartbeat),
        unnumbered_frame("heartbeat", heartbeat),
        _numbered("reset", Reset("worker_lost", 2)),
        token_frame(Cursor(2, 3, 5), "anew\n"),
        _numbered("file", FileChange("soul.md", "write", 12, "ab")),
        _numbered("skill", SkillChoice("poetry", None, 0.1)),
        _numbered("notice", Notice("invalid_file", "left out")),
    ]
    for event in read_events(b"".join(stream)):
        show(event)
    out, err = capfd.readouterr()
    assert out == "ChidÉ 🎉\nanew\n"
    assert err.splitlines() == [
        "[running, attempt 1]",
        "[its worker was lost; waiting]",
        "[reset, worker_lost: forget the text above, attempt 2 follows]",
        "[file soul.md: write, 12 bytes]",
        "[skill poetry: none like it]",
        "[invalid_file: left out]",
    ]


def test_as_json_each_logged_event_is_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    chunk = token_frame(Cursor(1, 2, 1), "é\n") + unnumbered_frame(
        "heartbeat", Heartbeat(State.RUNNING, 1, 2, "alive", 3.0)
    )
    for event in read_events(chunk):
        show_as_json(event)
    (line,) = capfd.readouterr().out.splitlines()
    assert msgspec.json.decode(line) == {"id": "1.2.1", "event": "token", "data": {"text": "é\n"}}


def _ended(state: State, text: str, error: Failure | None = None) -> Any:
    async def stored(acts: Acts) -> str:
        accepted = await acts.accept()
        end = msgspec.structs.replace(outcome(text, state, error=error), timeline=pack([]))
        end = msgspec.structs.replace(end, last_seq=1, last_offset=0) if not text else end
        await acts.run(accepted, end)
        return accepted.generation.id

    return stored


def test_one_that_failed_is_told_with_its_reason_and_exit_status_1(
    terminal: Terminal, does: Does[Any]
) -> None:
    id = does(_ended(State.FAILED, "", Failure("model_error", "it broke", True)))
    ran = terminal.run("generations", "tail", id)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines()[-1] == "[failed: model_error, it broke]"


def test_without_redis_an_ended_one_is_told_from_the_database(
    terminal: Terminal, does: Does[Any]
) -> None:
    id = does(_ended(State.COMPLETED, ""))
    ran = terminal.run("generations", "tail", id, "--json")
    assert ran.status == 0
    end = msgspec.json.decode(ran.out.splitlines()[-1])
    assert end["event"] == "completed"
    assert end["data"]["generation"]["id"] == id
