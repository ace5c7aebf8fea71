"""What a round's bytes mean, also when they are not what they should be; no network here."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.generation import Usage
from jobs.provider_errors import ProviderFailed
from jobs.provider_round import CallPiece, Finished, ModelEvent, RoundReader, TextPiece
from tests.jobs.provider_runs import text_of
from tests.jobs.raw_model import DONE, WHOLE, delta, sse, usage


def read(*pieces: bytes, secret: str = "") -> tuple[list[ModelEvent], ProviderFailed | None]:
    """The events of this body, texts side by side joined, and the failure."""
    reader = RoundReader(secret)
    events: list[ModelEvent] = []
    for piece in pieces:
        events += reader.feed(piece)
        if reader.failure is not None or reader.done:
            break
    if reader.failure is None:
        events += reader.end()
    joined: list[ModelEvent] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, TextPiece) and isinstance(last, TextPiece):
            joined[-1] = TextPiece(last.text + event.text)
        else:
            joined.append(event)
    return joined, reader.failure


def text(content: str) -> bytes:
    return sse(delta(content=content))


STOP = sse(delta("stop"))


def chunk(data: str) -> bytes:
    return f"data: {data}\n\n".encode("utf-8", "surrogatepass")


BODIES = {
    "whole": WHOLE,
    "named events": b"event: message\n" + text("a") + STOP + DONE,
    "surrogates": text("a\ud83c") + text("\udf0d") + text("\ud800") + text("\udc00b\ud83c") + STOP,
    "error in mid-stream": text("a") + sse({"error": {"message": "m"}}) + text("b"),
    "bad JSON in mid-stream": text("a") + chunk("{") + text("b"),
    "bad type": text("a") + sse(delta(content=["x"])),
    "truncated": text("a") + b'data: {"choices": [{"del',
    "calls": text("a")
    + sse(
        delta(
            tool_calls=[{"index": 0, "id": "x", "function": {"name": "n", "arguments": "\ud83c"}}]
        )
    )
    + text("b")
    + sse(delta("tool_calls", tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]))
    + DONE
    + text("ignored"),
    "a page": b"<html>\n\n<p>\r\n</html>",
    "long": text("x" * 3000) + text("Grüße \U0001f30d" * 50) + STOP + sse(usage(1, 2)) + DONE,
}


@given(st.sampled_from(sorted(BODIES)), st.lists(st.integers(0, 8000), max_size=10), st.booleans())
def test_any_cutting_gives_the_same_events(name: str, cuts: list[int], carriage: bool) -> None:
    body = BODIES[name]
    if carriage:
        body = body.replace(b"\n", b"\r\n")
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    whole, failure = read(body)
    cut, cut_failure = read(*(body[a:b] for a, b in pairwise(edges)))
    assert cut == whole
    assert str(cut_failure) == str(failure)


@given(st.text(alphabet=st.characters(codec=None), max_size=40), st.data())
def test_text_is_what_the_model_sent_as_scalar_values(whole: str, data: st.DataObject) -> None:
    units = whole.encode("utf-16-le", "surrogatepass")
    cuts = data.draw(st.lists(st.integers(0, len(units) // 2), max_size=6))
    edges = [0, *sorted(cut * 2 for cut in cuts), len(units)]
    parts = [units[a:b].decode("utf-16-le", "surrogatepass") for a, b in pairwise(edges)]
    events, _ = read(*map(text, parts), STOP)
    expected = units.decode("utf-16-le", "replace").replace("\0", "\ufffd")
    assert text_of(events) == expected


def test_text_and_finish_reason_may_share_a_chunk() -> None:
    events, failure = read(sse(delta("stop", content="all")))
    assert (events, failure) == ([TextPiece("all"), Finished("stop", None)], None)


def test_the_last_usage_counts_wherever_it_comes() -> None:
    early = {**delta(content="a"), "usage": {"prompt_tokens": 5, "completion_tokens": 1}}
    assert read(sse(early) + STOP)[0][-1] == Finished("stop", Usage(5, 1))
    assert read(sse(early) + STOP + sse(usage(5, 9)))[0][-1] == Finished("stop", Usage(5, 9))


@pytest.mark.parametrize(
    "odd",
    [None, {}, [], 5, "many", {"prompt_tokens": "5"}, {"prompt_tokens": -1}, {"total_tokens": 3}],
)
def test_a_usage_of_another_shape_is_none(odd: object) -> None:
    assert read(STOP + sse({"choices": [], "usage": odd}))[0] == [Finished("stop", None)]


def test_half_a_usage_is_taken() -> None:
    half = sse({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": None}})
    assert read(STOP + half)[0] == [Finished("stop", Usage(3, 0))]


def test_only_the_first_choice_is_read() -> None:
    both = {
        "choices": [
            {"index": 1, "delta": {"content": "no"}, "finish_reason": "length"},
            {"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"},
        ]
    }
    assert read(sse(both))[0] == [TextPiece("yes"), Finished("stop", None)]


@pytest.mark.parametrize(
    "quiet",
    [
        ": OPENROUTER PROCESSING\n\n",
        "data:\n\n",
        "data: {}\n\n",
        'data: {"choices": null}\n\n',
        'data: {"choices": [], "usage": null}\n\n',
        'data: {"choices": [{"index": 0}]}\n\n',
        'data: {"choices": [{"delta": null, "finish_reason": ""}], "error": null}\n\n',
        'data: {"type": "ping"}\n\n',
        "event: ping\ndata: {}\n\n",
        "id: 4\nretry: 100\n\n",
    ],
)
def test_what_says_nothing_changes_nothing(quiet: str) -> None:
    reader = RoundReader()
    assert reader.feed(quiet.encode()) == []
    assert not reader.spoke
    assert reader.failure is None
    assert read(quiet.encode() + text("a") + quiet.encode() + STOP)[0] == [
        TextPiece("a"),
        Finished("stop", None),
    ]


@pytest.mark.parametrize(
    "body",
    [
        sse({"error": {"message": "it broke", "code": 500}}),
        sse({"error": "it broke"}),
        sse({**delta(content="x"), "error": {"message": "it broke"}}),
        sse({"error": {"message": {"error": "it broke"}}}),
        sse({"object": "error", "message": "it broke", "code": 500}),
        sse({"type": "error", "error": {"type": "overloaded_error", "message": "it broke"}}),
        b'event: error\ndata: {"message": "it broke"}\n\n',
        b'event: error\ndata: {"detail": "it broke"}\n\n',
        b"event: error\ndata: it broke\n\n",
    ],
)
def test_an_error_of_the_model_is_told_in_its_words(body: bytes) -> None:
    events, failure = read(text("a") + STOP + body)
    assert events == [TextPiece("a")]
    assert failure is not None
    assert (failure.code, failure.retryable) == ("model_error", True)
    assert failure.message == "the model reported an error: it broke"


def test_an_error_as_finish_reason_is_an_error() -> None:
    events, failure = read(text("a") + sse(delta("error")))
    assert events == [TextPiece("a")]
    assert failure is not None
    assert (failure.code, failure.message) == ("model_error", "the model reported an error")


@pytest.mark.parametrize(
    "error",
    [
        {"message": "m", "code": "context_length_exceeded"},
        {"message": "m", "type": "invalid_request_error", "code": None},
        {"message": "m", "code": 400},
    ],
)
def test_an_error_that_would_come_again_is_not_retryable(error: object) -> None:
    _, failure = read(sse({"error": error}))
    assert failure is not None
    assert not failure.retryable


def test_an_error_in_the_stream_shows_no_credentials() -> None:
    key = "sk-very-secret-key"
    _, failure = read(sse({"error": {"message": f"bad {key}", "code": 401}}), secret=key)
    assert failure is not None
    assert failure.message == "the model's endpoint refused the credentials"
    _, failure = read(sse({"error": f"{'x' * 190} {key}"}), secret=key)
    assert failure is not None
    assert "sk-v" not in failure.message
    _, failure = read(f'{{"echo": "{key}"}}'.encode(), secret=key)
    assert failure is not None
    assert key not in failure.message


WRONG = [
    "{", "nul", "[", "[]", "5", '"text"', "null", "not json", "{'a': 1}", "[" * 100_000,
    '{"choices": {}}', '{"choices": [null]}', '{"choices": [5]}', '{"choices": ["x"]}',
    '{"choices": [{"delta": []}]}', '{"choices": [{"delta": {"content": ["x"]}}]}',
    '{"choices": [{"delta": {"content": {"text": "x"}}}]}',
    '{"choices": [{"delta": {"content": 5}}]}', '{"choices": [{"delta": {"content": true}}]}',
    '{"choices": [{"delta": {"refusal": 5}}]}', '{"choices": [{"index": "0"}]}',
    '{"choices": [{"finish_reason": 5}]}', '{"choices": [{"delta": {"tool_calls": {}}}]}',
    '{"choices": [{"delta": {"tool_calls": [5]}}]}',
    '{"choices": [{"delta": {"tool_calls": [{"index": "x"}]}}]}',
    '{"choices": [{"delta": {"tool_calls": [{"function": "x"}]}}]}',
    '{"choices": [{"delta": {"tool_calls": [{"function": {"arguments": {}}}]}}]}',
    '{"choices": [{"delta": {"tool_calls": [{"id": 7}]}}]}',
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong[:60])
def test_a_chunk_of_another_shape_is_an_error(wrong: str) -> None:
    events, failure = read(text("a") + chunk(wrong) + STOP)
    assert events == [TextPiece("a")]
    assert failure is not None
    assert failure.code == "model_error"
    assert len(failure.message) < 250


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "delta", "content", "index", "error", "message", "usage", "object", "type",
             "finish_reason", "tool_calls", "function", "arguments", "id", "name", "code",
             "prompt_tokens", "completion_tokens"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=15,
))  # fmt: skip
def test_any_json_is_read_or_refused(value: object) -> None:
    for body in (sse(value), b"event: error\n" + sse(value), json.dumps(value).encode()):
        events, failure = read(body)
        if failure is None:
            assert isinstance(events[-1], Finished)
        else:
            failure.message.encode()
            assert "\0" not in failure.message


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    events, failure = read(b"data: " + body + b"\n\n")
    assert failure is not None or isinstance(events[-1], Finished)


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    body = b'data: {"choices": [{"delta": {"content": "a\xffb"}, "finish_reason": "stop"}]}\n\n'
    assert read(body)[0] == [TextPiece("a\ufffdb"), Finished("stop", None)]


def test_a_lone_surrogate_beside_a_usage_loses_neither() -> None:
    both = {**delta("stop", content="a\ud83c"), "usage": {"prompt_tokens": 1}}
    assert read(sse(both))[0] == [TextPiece("a\ufffd"), Finished("stop", Usage(1, 0))]


def test_a_surrogate_kept_back_is_text_all_the_same() -> None:
    reader = RoundReader()
    assert reader.feed(text("\ud83c")) == []
    assert reader.spoke
    assert reader.feed(text("\udf0d")) == [TextPiece("\U0001f30d")]


def test_a_call_without_index_is_given_as_it_came() -> None:
    call = {"id": "x", "function": {"name": "n", "arguments": "{}"}}
    assert read(sse(delta("tool_calls", tool_calls=[call])))[0] == [
        CallPiece(None, "x", "n", "{}"),
        Finished("tool_calls", None),
    ]


def test_a_refusal_is_the_models_text() -> None:
    assert read(sse(delta("stop", refusal="I can't")))[0][0] == TextPiece("I can't")


def test_thoughts_are_no_text_but_no_silence_either() -> None:
    reader = RoundReader()
    for fields in ({"reasoning_content": "hm"}, {"reasoning": "hm"}, {"reasoning": {"text": "x"}}):
        assert reader.feed(sse(delta(None, **fields))) == []
        assert reader.spoke
    assert reader.feed(sse(delta(reasoning="", reasoning_content=None))) == []
    assert not reader.spoke


def test_a_long_finish_reason_is_cut() -> None:
    last = read(sse(delta("x" * 500 + "\0")))[0][-1]
    assert isinstance(last, Finished)
    assert len(last.finish_reason) == 64


def test_a_line_beyond_a_mebibyte_is_an_error() -> None:
    events, failure = read(text("a"), b"data: " + b"x" * (1024 * 1024 + 1))
    assert events == [TextPiece("a")]
    assert failure is not None
    assert failure.code == "model_error"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", "model_truncated", "without a finish reason"),
        (b": hi\n\n", "model_truncated", "without a finish reason"),
        (DONE, "model_truncated", "without a finish reason"),
        (b"Service Unavailable", "model_truncated", "without a finish reason"),
        (b"<!DOCTYPE html><h1>Bad gateway</h1>", "model_error", "a page instead"),
        (b'\xef\xbb\xbf {"choices": [{"message": {}}]}', "model_error", "a JSON document instead"),
        (b'{"error": {"message": "no slot"}}', "model_error", "no slot"),
        (b'[{"error": 1}]', "model_error", "a JSON document instead"),
        (json.dumps({"x": "y" * 5000}).encode(), "model_error", "a JSON document instead"),
    ],
)
def test_a_body_that_is_no_answer_says_what_it_was(body: bytes, code: str, words: str) -> None:
    events, failure = read(body)
    assert events == []
    assert failure is not None
    assert failure.code == code
    assert words in failure.message
    assert len(failure.message) <= 250
