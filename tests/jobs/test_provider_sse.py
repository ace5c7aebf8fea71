"""The splitter gives the events of the HTML standard's grammar, wherever the bytes were cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.provider_sse import MAX_EVENT_BYTES, EventSplitter, EventTooLong

LINES = st.sampled_from(
    [
        "", "", "", "data: x", "data:x", "data:  two", "data", "data:", "data: a: b", "datax: no",
        "event: error", "event:e", "event", "id: 1", "retry: 5", ": comment", ":", "\ufeffdata: q",
        "data: Grüße \U0001f30d", "nonsense", " data: x", "data: [DONE]",
    ]
)  # fmt: skip
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def split_into(events: list[tuple[bytes, bytes]], *pieces: bytes) -> None:
    splitter = EventSplitter()
    for piece in pieces:
        events.extend(splitter.feed(piece))


def split(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    events: list[tuple[bytes, bytes]] = []
    split_into(events, *pieces)
    return events


def reference(body: str) -> list[tuple[bytes, bytes]]:
    """The standard's algorithm, on the whole text at once."""
    lines = body.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events = []
    name, data = "", ""
    for line in lines[:-1]:
        if not line:
            if data:
                events.append((name.encode(), data.removesuffix("\n").encode()))
            name, data = "", ""
            continue
        field, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        # A field without a colon is one with an empty value, which no server sends: left out.
        if field == "data" and colon:
            data += value + "\n"
        elif field == "event" and colon:
            name = value
    return events


@st.composite
def cut_bodies(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    lines = draw(st.lists(st.tuples(LINES, ENDS), max_size=30))
    body = draw(st.sampled_from(["", "\ufeff"])) + "".join(line + end for line, end in lines)
    data = body.encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    edges = [0, *cuts, len(data)]
    return body, [data[a:b] for a, b in pairwise(edges)]


@given(cut_bodies())
def test_any_cutting_gives_the_events_of_the_standard(cut: tuple[str, list[bytes]]) -> None:
    body, pieces = cut
    assert split(*pieces) == reference(body)
    assert split(*(bytes([byte]) for byte in body.encode())) == reference(body)


@given(st.lists(st.sampled_from(["x", "", "data: y", "ü"]), min_size=3, max_size=6), st.data())
def test_events_of_one_line_each_are_the_same_in_one_piece_and_in_two(
    values: list[str], data: st.DataObject
) -> None:
    body = "".join(f"data: {value}\n\n" for value in values).encode()
    cut = data.draw(st.integers(0, len(body)))
    expected = [(b"", value.encode()) for value in values]
    assert split(body) == split(body[:cut], body[cut:]) == expected


def test_a_byte_order_mark_is_skipped_at_the_start_alone() -> None:
    marked = "\ufeffdata: a\n\n".encode()
    assert split(marked) == [(b"", b"a")]
    assert split(b"data: x\n\n", marked) == [(b"", b"x")]


def test_an_event_without_its_blank_line_is_dropped() -> None:
    assert split(b"data: a\n\ndata: b\n") == [(b"", b"a")]


def test_a_name_holds_for_one_event() -> None:
    assert split(b"event: error\ndata: a\n\ndata: b\n\n") == [(b"error", b"a"), (b"", b"b")]


def test_a_line_of_a_mebibyte_passes() -> None:
    value = b"x" * (MAX_EVENT_BYTES - 100)
    body = b"data: " + value + b"\n\n"
    pieces = [body[at : at + 16384] for at in range(0, len(body), 16384)]
    assert split(*pieces) == [(b"", value)]


@pytest.mark.parametrize(
    "body",
    [
        b"data: " + b"x" * MAX_EVENT_BYTES + b"x\n\n",
        b"x" * (MAX_EVENT_BYTES + 1),
        b"data: 123456789\n" * (MAX_EVENT_BYTES // 9 + 1),
    ],
    ids=["a line", "a line without end", "an event of many lines"],
)
@pytest.mark.parametrize("size", [4096, 4 * MAX_EVENT_BYTES])
def test_what_is_longer_is_refused_after_what_came_before(body: bytes, size: int) -> None:
    whole = b"data: first\n\n" + body
    events: list[tuple[bytes, bytes]] = []
    with pytest.raises(EventTooLong):
        split_into(events, *(whole[at : at + size] for at in range(0, len(whole), size)))
    assert events == [(b"", b"first")]


def test_a_long_line_in_tiny_pieces_takes_linear_time() -> None:
    splitter = EventSplitter()
    for _ in range(200_000):
        assert list(splitter.feed(b"xxxx")) == []
    assert list(splitter.feed(b"\n\n")) == []
