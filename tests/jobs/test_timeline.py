"""What SQL keeps gives back every event with the id and the bytes that were published."""

import json
import zlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.attempt_log import AttemptLog
from jobs.cursor import Cursor
from jobs.events import Event, FileDelta, Notice, Reset, Status, frame_cursor
from jobs.generation import FileChange, SkillChoice, State
from jobs.timeline import Entry, Timeline, pack, rebuild, unpack
from tests.jobs.log_rig import NAME

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1)
others = st.one_of(
    st.tuples(st.just("status"), st.builds(Status, st.just(State.RUNNING), st.just(2))),
    st.tuples(st.just("notice"), st.builds(Notice, texts, texts)),
    st.tuples(st.just("file"), st.builds(FileChange, texts, st.just("write"), st.just(1), texts)),
    st.tuples(st.just("skill"), st.builds(SkillChoice, texts, st.none(), st.just(0.5))),
    st.tuples(st.just("reset"), st.builds(Reset, st.just("worker_lost"), st.just(2))),
)
deltas = st.builds(FileDelta, st.sampled_from(["a.md", "b.md"]), st.integers(0, 4), texts)
# What is done to a log: text, a piece of a file, another event, or a flush of what came so far.
steps = st.lists(st.one_of(texts, deltas, others, st.none()), max_size=60)


def is_preview(one: bytes) -> bool:
    return one.startswith(b"event: file_delta\n")


def data_of(one: bytes) -> bytes:
    return one.split(b"\n")[1].removeprefix(b"data: ")


def written(doings: list[object]) -> tuple[AttemptLog, list[bytes]]:
    """A log after these doings, and the frames as they were sent."""
    log = AttemptLog(NAME, 2, lambda _log, _urgent: None)
    sent: list[bytes] = []

    def flush() -> None:
        while frames := log.unsent():
            sent.extend(frames)
            log.sent += len(frames)

    for doing in doings:
        if doing is None:
            flush()
        elif isinstance(doing, str):
            log.append_text(doing)
        elif isinstance(doing, FileDelta):
            log.append_file_delta(doing)
        else:
            assert isinstance(doing, tuple)
            event, data = doing
            log.append(event, data)
    log.close()
    flush()
    return log, sent


@settings(deadline=None, max_examples=200)
@given(steps)
def test_a_stored_timeline_and_the_text_give_back_what_was_sent(doings: list[object]) -> None:
    log, sent = written(doings)
    rebuilt = list(rebuild(2, log.text, unpack(log.timeline())))
    assert [cursor for cursor, _ in rebuilt] == [frame_cursor(one) for one in sent]
    assert [one for _, one in rebuilt] == [b"" if is_preview(one) else one for one in sent]
    # Seqs are dense from 1 and offsets only grow, up to the length of the text.
    assert [cursor.seq for cursor, _ in rebuilt] == list(range(1, len(sent) + 1))
    offsets = [cursor.offset for cursor, _ in rebuilt]
    assert offsets == sorted(offsets)
    assert max(offsets, default=0) == len(log.text)
    assert log.close() == Cursor(2, len(sent) + 1, len(log.text))


@settings(deadline=None, max_examples=100)
@given(steps, st.integers(0, 70))
def test_rebuilding_after_a_seq_gives_the_rest_alone(doings: list[object], after: int) -> None:
    log, _ = written(doings)
    entries = unpack(log.timeline())
    whole = list(rebuild(2, log.text, entries))
    assert list(rebuild(2, log.text, entries, after)) == whole[after:]


@settings(deadline=None)
@given(steps)
def test_packing_keeps_every_entry(doings: list[object]) -> None:
    log, _ = written(doings)
    entries = unpack(log.timeline())
    assert unpack(pack(entries)) == entries
    assert log.timeline() == pack(entries)


def listed(additions: list[int | tuple[Event, bytes]]) -> list[Entry]:
    """What a timeline is to give back: an item an event, but for runs of previews."""
    entries: list[Entry] = []
    for one in additions:
        last = entries[-1] if entries else 0
        if isinstance(one, int):
            entries.append(one)
        elif one[0] != "file_delta":
            entries.append((one[0], msgspec.Raw(one[1])))
        elif isinstance(last, int) and last < 0:
            entries[-1] = last - 1
        else:
            entries.append(-1)
    return entries


# Lengths on either side of what a byte can count, and of what two can.
lengths = st.integers(1, 300) | st.sampled_from([255, 256, 65_535, 65_536]) | st.integers(1, 10**8)
events: st.SearchStrategy[Event] = st.sampled_from(["file_delta", "notice", "file", "status"])
additions = st.lists(lengths | st.tuples(events, st.just(b'{"code":"c"}')), max_size=60)


@settings(deadline=None, max_examples=300)
@given(additions)
def test_a_timeline_gives_back_exactly_what_was_added(
    adds: list[int | tuple[Event, bytes]],
) -> None:
    timeline = Timeline()
    for number, one in enumerate(adds, 1):
        if isinstance(one, int):
            timeline.add_token_batch(one)
        else:
            timeline.add_event(*one)
        assert list(timeline) == listed(adds[:number])
    # Stored as the list would be, byte by byte.
    assert pack(timeline) == pack(listed(adds))
    assert unpack(pack(timeline)) == listed(adds)


@pytest.mark.parametrize("characters", [0, -1])
def test_a_token_batch_without_text_is_refused(characters: int) -> None:
    timeline = Timeline()
    with pytest.raises(ValueError, match="has text"):
        timeline.add_token_batch(characters)
    assert list(timeline) == []


def test_a_timeline_that_was_stored_before_is_still_read() -> None:
    stored = zlib.compress(b'[["status",{"state":"running","attempt":1}],2,-2,300]')
    assert [entry if isinstance(entry, int) else entry[0] for entry in unpack(stored)] == [
        "status", 2, -2, 300,
    ]  # fmt: skip
    cursors = [cursor for cursor, _ in rebuild(1, "ab" + "c" * 300, unpack(stored))]
    assert cursors == [Cursor(1, *one) for one in ((1, 0), (2, 2), (3, 2), (4, 2), (5, 302))]
    assert pack(unpack(stored)) == stored


def test_previews_leave_numbered_holes_and_are_kept_as_a_count() -> None:
    timeline = Timeline()
    data = b'{"code":"c","message":"m"}'
    for event in ("file_delta", "file_delta", "notice", "file_delta"):
        timeline.add_event(event, data)
    timeline.add_token_batch(2)
    assert [entry if isinstance(entry, int) else entry[0] for entry in timeline] == [
        -2, "notice", -1, 2,
    ]  # fmt: skip
    assert list(rebuild(1, "ab", unpack(pack(timeline)))) == [
        (Cursor(1, 1, 0), b""),
        (Cursor(1, 2, 0), b""),
        (Cursor(1, 3, 0), b"event: notice\ndata: " + data + b"\nid: 1.3.0\n\n"),
        (Cursor(1, 4, 0), b""),
        (Cursor(1, 5, 2), b'event: token\ndata: {"text":"ab"}\nid: 1.5.2\n\n'),
    ]


def test_the_timeline_of_five_thousand_batches_is_small() -> None:
    timeline = Timeline()
    for n in range(5000):
        timeline.add_token_batch(3 + n % 5)
    assert len(pack(timeline)) < 5_000


def test_an_event_keeps_the_very_bytes_of_its_data() -> None:
    timeline = Timeline()
    data = Notice("odd", 'é"\u2028😀\\')
    log = AttemptLog(NAME, 1, lambda _log, _urgent: None)
    log.append("notice", data)
    [sent] = log.unsent()
    timeline.add_event("notice", data_of(sent))
    [(_, rebuilt)] = rebuild(1, "", unpack(pack(timeline)))
    assert rebuilt == sent
    assert json.loads(data_of(sent))["message"] == data.message
