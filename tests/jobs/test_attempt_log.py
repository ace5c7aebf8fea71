"""A writer's log numbers each event once, batches what arrives together, and can make it again."""

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jobs
from jobs.attempt_log import CHUNK_BYTES, CHUNK_FRAMES, AttemptLog
from jobs.cursor import Cursor
from jobs.events import FileDelta, Notice, Status, frame_cursor, is_token, token_text
from jobs.generation import State
from tests.jobs.log_rig import NAME, ended


def new_log(on_change: Callable[[AttemptLog, bool], None] = lambda _l, _u: None) -> AttemptLog:
    return AttemptLog(NAME, 1, on_change)


def send(log: AttemptLog) -> list[bytes]:
    """What the next flush takes, taken for sent."""
    frames = list(log.unsent())
    log.sent += len(frames)
    return frames


def test_text_between_two_flushes_becomes_one_token() -> None:
    log = new_log()
    for piece in ("Hel", "", "lo ", "😀"):
        log.append_text(piece)
    [one] = send(log)
    assert token_text(one) == "Hello 😀"
    assert frame_cursor(one) == Cursor(1, 1, 7)
    assert log.characters == 7
    assert send(log) == []


def test_another_event_ends_the_token_before_it_and_carries_its_offset_along() -> None:
    log = new_log()
    log.append_text("ab")
    log.append("notice", Notice("c", "m"))
    log.append_text("c")
    assert [frame_cursor(one) for one in send(log)] == [
        Cursor(1, 1, 2), Cursor(1, 2, 2), Cursor(1, 3, 3),
    ]  # fmt: skip


def test_pieces_of_a_file_that_follow_one_another_become_one_event() -> None:
    log = new_log()
    for delta in (
        FileDelta("a", 0, "ab"),
        FileDelta("a", 2, "c"),
        FileDelta("a", 0, "anew"),
        FileDelta("b", 4, "other path"),
        FileDelta("b", 15, "not where it ended"),
    ):
        log.append_file_delta(delta)
    log.append_text("t")
    frames = send(log)
    assert [one.split(b"\n")[1] for one in frames] == [
        b'data: {"path":"a","at":0,"text":"abc"}',
        b'data: {"path":"a","at":0,"text":"anew"}',
        b'data: {"path":"b","at":4,"text":"other path"}',
        b'data: {"path":"b","at":15,"text":"not where it ended"}',
        b'data: {"text":"t"}',
    ]
    assert [frame_cursor(one).offset for one in frames] == [0, 0, 0, 0, 1]


def test_a_piece_of_a_file_after_a_flush_is_an_event_of_its_own() -> None:
    log = new_log()
    log.append_file_delta(FileDelta("a", 0, "ab"))
    assert len(send(log)) == 1
    log.append_file_delta(FileDelta("a", 2, "c"))
    assert b'\ndata: {"path":"a","at":2,"text":"c"}\n' in send(log)[0]


def test_the_first_text_each_event_and_the_begin_of_a_file_are_urgent() -> None:
    told: list[bool] = []
    log = new_log(lambda _log, urgent: told.append(urgent))
    log.append("status", Status(State.RUNNING, 1))
    log.append_text("a")
    send(log)
    log.append_text("b")
    send(log)
    log.append_file_delta(FileDelta("a", 0, "x"))
    log.append_file_delta(FileDelta("a", 1, "x"))
    assert told == [True, True, False, True, False]


def test_pending_tells_whether_redis_lacks_anything() -> None:
    log = new_log()
    assert not log.pending
    log.append_text("a")
    assert log.pending
    send(log)
    assert not log.pending
    log.append_file_delta(FileDelta("a", 0, "x"))
    assert log.pending
    send(log)
    assert not log.pending
    log.append("notice", Notice("c", "m"))
    assert log.pending


def test_close_gives_the_id_that_the_terminal_event_gets() -> None:
    log = new_log()
    log.append_text("abc")
    end = log.close()
    assert not log.ended
    log.append_terminal(ended(text="abc"))
    assert log.ended
    assert frame_cursor(send(log)[-1]) == end == Cursor(1, 2, 3)


def test_a_chunk_is_bounded_in_frames_and_in_bytes() -> None:
    log = new_log()
    for _ in range(CHUNK_FRAMES + 1):
        log.append("notice", Notice("c", ""))
    assert len(send(log)) == CHUNK_FRAMES
    assert len(send(log)) == 1
    for _ in range(3):
        log.append("notice", Notice("c", "x" * CHUNK_BYTES))
    assert [len(send(log)) for _ in range(4)] == [1, 1, 1, 0]


def test_frames_are_let_go_of_once_sent_or_forgotten() -> None:
    log = new_log()
    for n in range(100):
        log.append("notice", Notice("c", f"{n}"))
    send(log)
    assert send(log) == []
    assert not log._frames
    log.append_text("more")
    log.forget_frames()
    assert not log._frames
    assert [token_text(one) for one in log.unsent()] == ["more"]


def held() -> int:
    """Bytes that are held of what the package, and this file, have allocated while traced."""
    gc.collect()
    own = [
        tracemalloc.Filter(True, f"{Path(jobs.__file__).parent}/*"),
        tracemalloc.Filter(True, __file__),
    ]
    traces = tracemalloc.take_snapshot().filter_traces(own)
    return sum(one.size for one in traces.statistics("filename"))


@pytest.mark.parametrize("letters", ["abc", "äbc", "ab\u2014", "ab😀", "漢字漢"])
def test_a_long_answer_of_short_tokens_is_held_as_little_more_than_its_text(letters: str) -> None:
    log = new_log()
    tracemalloc.start()
    try:
        before = held()
        for number in range(20_000):
            # Each token is a string of its own, as they come from a model.
            log.append_text(f"{letters}{number % 10} ")
            assert len(send(log)) == 1
        grown = held() - before
    finally:
        tracemalloc.stop()
    text = len(log.text.encode())
    assert log.seq == 20_000
    assert text < grown < 1.5 * text


pieces = st.one_of(
    st.text("ab😀\n", min_size=1, max_size=4),
    st.builds(FileDelta, st.just("f"), st.integers(0, 3), st.just("x")),
    st.builds(Notice, st.just("c"), st.text("ab", max_size=3)),
)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(pieces, st.sampled_from(["", "send", "forget", "lose"])), max_size=40),
    st.data(),
)
def test_whatever_was_sent_forgotten_or_lost_the_same_events_come_again(
    doings: list[tuple[object, str]], data: st.DataObject
) -> None:
    log = new_log()
    first_seen: dict[Cursor, bytes] = {}

    def take() -> None:
        frames = send(log)
        for seq, one in enumerate(frames, log.sent - len(frames) + 1):
            if one:
                cursor = frame_cursor(one)
                assert cursor.seq == seq
                assert first_seen.setdefault(cursor, one) == one

    for piece, after in doings:
        if isinstance(piece, str):
            log.append_text(piece)
        elif isinstance(piece, FileDelta):
            log.append_file_delta(piece)
        else:
            assert isinstance(piece, Notice)
            log.append("notice", piece)
        if after == "send":
            take()
        elif after == "forget":
            log.forget_frames()
        elif after == "lose":
            log.sent = data.draw(st.integers(0, log.sent))
    log.close()
    log.append_terminal(ended())
    while log.pending:
        take()
    log.sent = 0
    again: list[bytes] = []
    while log.pending:
        again += send(log)
    assert len(again) == log.seq
    for seq, one in enumerate(again, 1):
        if one:
            assert frame_cursor(one).seq == seq
            assert first_seen[frame_cursor(one)] == one
    assert "".join(token_text(one) for one in again if one and is_token(one)) == log.text
    assert log.text == "".join(piece for piece, _ in doings if isinstance(piece, str))
