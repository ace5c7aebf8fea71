"""Frames are exact bytes, and past tokens merge without changing anything that a reader sees."""

import json
from itertools import groupby

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import events
from jobs.cursor import Cursor
from jobs.events import (
    Ended,
    Event,
    FileDelta,
    Heartbeat,
    Idle,
    Notice,
    Reset,
    Status,
    Token,
    frame,
    frame_cursor,
    is_token,
    join_merged,
    merge_tokens,
    read_frame,
    retry_frame,
    terminal_frame,
    token_frame,
    token_text,
    unnumbered_frame,
)
from jobs.generation import FileChange, SkillChoice, State, encode
from tests.jobs.log_rig import ended

# All that a model may write: no surrogates, no U+0000 (protocol §1), and what parsers trip over.
AWKWARD = (
    '"\\/\b\t\n\r\x0b\x0c\x1b\x1c\x1d\x1e\x1f\x7f\x85\u2028\u2029\ufeff\ufffd'
    "'{}[]:,é\u0301\U0001f600\U0001f469\u200d\U0001f467"
)
texts = st.text(
    st.one_of(
        st.sampled_from(AWKWARD),
        st.characters(exclude_categories=["Cs"], exclude_characters="\x00"),
    )
)


def parse(stream: bytes) -> list[dict[str, str]]:
    """The events of a stream by the rules of the EventSource specification, strictly LF."""
    assert b"\r" not in stream
    assert stream.endswith(b"\n\n") or not stream
    events = []
    for block in stream.decode().split("\n\n")[:-1]:
        fields = [line.split(": ", 1) for line in block.split("\n")]
        assert len({name for name, _ in fields}) == len(fields), "a field twice"
        events.append(dict(fields))
    return events


def test_a_token_frame_is_these_bytes() -> None:
    assert token_frame(Cursor(1, 2, 9), 'He said "no"') == (
        b'event: token\ndata: {"text":"He said \\"no\\""}\nid: 1.2.9\n\n'
    )


def test_a_status_frame_is_these_bytes() -> None:
    data = encode(Status(State.RUNNING, 1))
    assert frame(Cursor(1, 1, 0), "status", data) == (
        b'event: status\ndata: {"state":"running","attempt":1}\nid: 1.1.0\n\n'
    )


@pytest.mark.parametrize(
    ("event", "data", "shown"),
    [
        ("file_delta", FileDelta("a.md", 3, "x"), {"path": "a.md", "at": 3, "text": "x"}),
        (
            "file",
            FileChange("a.md", "write", 5, "ab"),
            {"path": "a.md", "op": "write", "bytes": 5, "sha256": "ab"},
        ),
        (
            "skill",
            SkillChoice("cook", None, 0.25),
            {"requested": "cook", "matched": None, "score": 0.25},
        ),
        ("notice", Notice("c", "m"), {"code": "c", "message": "m"}),
        ("reset", Reset("worker_lost", 2), {"reason": "worker_lost", "attempt": 2}),
    ],
)
def test_each_event_carries_the_fields_of_the_protocol(
    event: Event, data: msgspec.Struct, shown: dict[str, object]
) -> None:
    one = frame(Cursor(1, 2, 3), event, encode(data))
    [told] = parse(one)
    assert (told["id"], told["event"], json.loads(told["data"])) == ("1.2.3", event, shown)
    assert read_frame(one) == (Cursor(1, 2, 3), data)


def test_events_without_an_id_move_no_cursor() -> None:
    heartbeat = Heartbeat(State.RUNNING, 2, 7, "alive", 1.5)
    assert unnumbered_frame("heartbeat", heartbeat) == (
        b"event: heartbeat\ndata: "
        b'{"state":"running","attempt":2,"seq":7,"worker":"alive","silent_seconds":1.5}\n\n'
    )
    assert unnumbered_frame("idle", Idle(State.QUEUED, 90.0)) == (
        b'event: idle\ndata: {"state":"queued","silent_seconds":90.0}\n\n'
    )
    assert retry_frame(1234) == b"retry: 1234\n\n"


def test_a_terminal_frame_is_named_after_the_state_and_leaves_the_text_out() -> None:
    one = terminal_frame(Cursor(1, 9, 5), ended(text="a b c"))
    assert read_frame(one) == (Cursor(1, 9, 5), Ended(ended(text="a b c").without_text()))
    [told] = parse(one)
    assert (told["id"], told["event"]) == ("1.9.5", "completed")
    generation = json.loads(told["data"])["generation"]
    assert "text" not in generation["output"]
    assert generation["output"]["characters"] == 5
    assert generation["error"] is None


@settings(deadline=None)
@given(texts)
def test_any_text_makes_one_line_by_any_rule_and_comes_back(text: str) -> None:
    one = token_frame(Cursor(3, 4, 5), text)
    # Libraries that read lines as text end one at U+2028, U+0085 or a file separator too.
    assert len(one.decode().splitlines()) == 4
    [told] = parse(one)
    assert json.loads(told["data"]) == {"text": text}
    assert token_text(one) == text
    assert is_token(one)
    assert frame_cursor(one) == Cursor(3, 4, 5)
    assert read_frame(one) == (Cursor(3, 4, 5), Token(text))


def test_a_frame_with_its_id_first_is_read_and_merged_as_well() -> None:
    """As 0.1.0 wrote them, to logs that may still be there."""
    written = [token_frame(Cursor(1, seq, seq), text) for seq, text in ((2, "a"), (3, "b"))]
    written.append(frame(Cursor(1, 4, 3), "notice", encode(Notice("c", "m"))))
    older = []
    for one in written:
        event, data, ident = one.removesuffix(b"\n\n").split(b"\n")
        older.append(b"\n".join([ident, event, data]) + b"\n\n")
    assert [read_frame(one) for one in older] == [read_frame(one) for one in written]
    assert [is_token(one) for one in older] == [True, True, False]
    merged = list(merge_tokens(older))
    assert [read_frame(one) for one in merged] == [
        (Cursor(1, 3, 3), Token("ab")), (Cursor(1, 4, 3), Notice("c", "m")),
    ]  # fmt: skip
    assert merged[0].startswith(b"id: 1.3.3\nevent: token\n")


def test_the_id_is_the_last_that_a_reader_has_of_an_event() -> None:
    """Some take an event for seen once they have its id, and would skip it after a cut."""
    for one in (token_frame(Cursor(1, 2, 9), "x"), terminal_frame(Cursor(1, 9, 5), ended())):
        assert one.rindex(b"\nid: ") > one.index(b"\ndata: ")
        assert one.splitlines()[-2].startswith(b"id: ")


@settings(deadline=None)
@given(texts, texts)
def test_text_that_looks_like_a_frame_stays_text(before: str, after: str) -> None:
    text = before + '\nevent: token\ndata: {"text":"x"}\n\n' + after
    one = frame(Cursor(1, 1, 0), "notice", encode(Notice("token", text)))
    assert not is_token(one)
    assert len(parse(one)) == 1
    assert token_text(token_frame(Cursor(1, 1, 9), text)) == text


# A run of events: the text of a token, "" for an event that was not kept, None for a notice.
runs = st.lists(st.one_of(texts.filter(bool), st.just(""), st.none()), max_size=30)


def frames_of(run: list[str | None]) -> list[bytes]:
    frames, offset = [], 0
    for seq, text in enumerate(run, 1):
        offset += len(text or "")
        cursor = Cursor(1, seq, offset)
        if text is None:
            frames.append(frame(cursor, "notice", encode(Notice("n", f"{seq}"))))
        else:
            frames.append(token_frame(cursor, text) if text else b"")
    return frames


@settings(deadline=None)
@given(runs)
def test_merging_joins_neighbouring_tokens_and_nothing_else(run: list[str | None]) -> None:
    frames = frames_of(run)
    merged = list(merge_tokens(frames))
    assert join_merged(frames) == b"".join(merged)
    # What is to come: each stretch of tokens as one event, under the id of its last.
    wanted: list[tuple[str, str, str]] = []
    for kind, stretch in groupby(frames, lambda one: bool(one) and is_token(one)):
        members = list(stretch)
        if kind:
            text = "".join(map(token_text, members))
            wanted.append((str(frame_cursor(members[-1])), "token", text))
        else:
            wanted += [(str(frame_cursor(one)), "notice", "") for one in members if one]
    told = parse(b"".join(merged))
    assert [
        (one["id"], one["event"], json.loads(one["data"]).get("text", "")) for one in told
    ] == wanted


def test_an_event_that_ends_like_a_token_is_never_merged_with_the_next() -> None:
    frames = [
        token_frame(Cursor(1, 1, 1), "a"),
        frame(Cursor(1, 2, 1), "notice", encode(Notice("n", "x"))),
        token_frame(Cursor(1, 3, 2), "b"),
        token_frame(Cursor(1, 4, 3), "c"),
    ]
    for some in (frames, frames[1:]):
        told = parse(join_merged(some))
        assert [one["event"] for one in told][-2:] == ["notice", "token"]
        assert json.loads(told[-2]["data"]) == {"code": "n", "message": "x"}
        assert (told[-1]["id"], json.loads(told[-1]["data"])) == ("1.4.3", {"text": "bc"})


def test_neighbouring_tokens_are_merged_without_a_step_a_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[bytes] = []
    judge = events.is_token

    def judged(one: bytes) -> bool:
        looked_at.append(one)
        return judge(one)

    monkeypatch.setattr(events, "is_token", judged)
    monkeypatch.delattr(events, "merge_tokens")
    frames = [frame(Cursor(1, 1, 0), "notice", encode(Notice("n", "x")))]
    frames += [token_frame(Cursor(1, seq, seq - 1), "é") for seq in range(2, 1002)]
    told = parse(events.join_merged(frames))
    assert [one["id"] for one in told] == ["1.1.0", "1.1001.1000"]
    assert json.loads(told[1]["data"]) == {"text": "é" * 1000}
    assert len(looked_at) == 2
