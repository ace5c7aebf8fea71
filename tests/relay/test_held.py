"""Frames on their way to a reader: none lost, bounded in memory, in chunks of whole events."""

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.cursor import Cursor
from jobs.events import Event, frame, token_frame
from relay.held import CHUNK_BYTES, HELD_BYTES, MERGED_BYTES, Held, is_terminal
from tests.relay.heard import assert_is_the_rest, heard

TERMINAL: tuple[Event, ...] = ("completed", "failed", "cancelled", "expired")


def frames_of(sizes: list[int]) -> list[bytes]:
    """Alternating tokens, notices and events that were not kept, of these sizes."""
    frames: list[bytes] = []
    offset = 0
    for seq, size in enumerate(sizes, 1):
        if seq % 5 == 0:
            frames.append(b"")
        elif seq % 3 == 0:
            frames.append(frame(Cursor(1, seq, offset), "notice", b'"%s"' % (b"n" * size)))
        else:
            offset += size
            frames.append(token_frame(Cursor(1, seq, offset), "t" * size))
    return frames


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.integers(1, 50), st.integers(1, 2 * MERGED_BYTES)), max_size=40),
    st.booleans(),
)
def test_everything_leaves_once_in_order_and_bounded(sizes: list[int], merged: bool) -> None:
    frames = frames_of(sizes)
    largest = max(map(len, frames), default=0)
    held, given_, chunks = Held(merged=merged), 0, []
    while given_ < len(frames):
        held.hold(frames[given_:])
        assert held.size < HELD_BYTES + largest
        while held:
            chunk, count, over = held.take()
            assert len(chunk) < (CHUNK_BYTES if merged else MERGED_BYTES) + largest
            assert count > 0
            assert not over
            given_ += count
            chunks.append(chunk)
    assert given_ == len(frames)
    assert_is_the_rest(heard(chunks), heard(one for one in frames if one))


def test_what_leaves_together_is_merged_into_events_of_bounded_size() -> None:
    held = Held()
    held.hold(frames_of([1000] * 300))
    chunk, _, _ = held.take()
    events = heard([chunk])
    tokens = [len(one.raw) for one in events if one.event == "token"]
    assert max(tokens) < MERGED_BYTES + 1100
    assert len(chunk) > MERGED_BYTES


def test_it_says_whether_it_took_all() -> None:
    few = frames_of([10] * 5)
    assert Held().hold(few)
    assert not Held().hold(frames_of([HELD_BYTES, 1]))
    assert Held().hold(frames_of([HELD_BYTES]))


def test_only_a_terminal_event_is_terminal() -> None:
    cursor = Cursor(1, 9, 9)
    for name in TERMINAL:
        assert is_terminal(frame(cursor, name, b"{}"))
    sly = b'{"text":"\\nevent: completed\\n"}'
    assert not is_terminal(frame(cursor, "token", sly))
    assert not is_terminal(frame(cursor, "status", b'{"state":"completed"}'))
    assert not is_terminal(b"")
    held = Held()
    held.hold([frame(cursor, "token", b'{"text":"x"}'), frame(cursor, "completed", b"{}")])
    assert held.take()[1:] == (2, True)
