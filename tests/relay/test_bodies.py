"""A request's body is taken as its type says, or refused with the field's name."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from jobs.generation import Kind
from relay.bodies import (
    MAX_BODY_BYTES,
    CreateGeneration,
    CreatePersona,
    RefinePersona,
    parse_body,
    read_body,
    refuse_body,
)
from relay.errors import (
    BodyTooLarge,
    InvalidField,
    MalformedBody,
    RelayError,
    UnsupportedMedia,
)

GOOD = {"kind": "chat", "input": "hello"}
PERSONA = "per_01j00000000000000000000000"


def parsed(document: Any) -> CreateGeneration:
    return parse_body(json.dumps(document).encode(), CreateGeneration).value


def request_of(*chunks: bytes, **headers: str) -> Request:
    """A request whose body comes in these chunks; an exhausted one disconnects."""

    async def messages() -> AsyncIterator[Message]:
        for chunk in chunks:
            yield {"type": "http.request", "body": chunk, "more_body": chunk is not chunks[-1]}
        yield {"type": "http.disconnect"}

    stream = messages()
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, stream.__anext__)


def test_a_good_body_is_taken() -> None:
    assert parsed(GOOD) == CreateGeneration(kind=Kind.CHAT, input="hello")
    assert parsed(GOOD | {"conversation_id": None}).conversation_id is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": None}, "kind"),
        ({"kind": "Sing a song"}, "kind"),
        ({"kind": 7}, "kind"),
        ({"kind": "\ud800"}, "kind"),
        ({"input": ""}, "input"),
        ({"input": " \n\t "}, "input"),
        ({"input": "x" * 100_001}, "input"),
        ({"input": ["x"]}, "input"),
        ({"input": {"input": 1}}, "input"),
        ({"input": "a\x00b"}, "input"),
        ({"input": "a\ud800b"}, "input"),
        ({"kind": "refine"}, "persona_id"),
        ({"persona_id": PERSONA}, "persona_id"),
        ({"kind": "generate", "conversation_id": "x"}, "conversation_id"),
        ({"name": "Ada"}, "name"),
        ({"kind": "generate", "name": ""}, "name"),
        ({"kind": "generate", "name": "  "}, "name"),
        ({"kind": "generate", "name": "x" * 201}, "name"),
        ({"model": ""}, "model"),
        ({"model": "m" * 201}, "model"),
        ({"model": 5}, "model"),
        ({"on_active": "wait"}, "on_active"),
        ({"on_active": None}, "on_active"),
        ({"colour": "red"}, "colour"),
        ({"col\x00our": "red"}, "col\x00our"),
        ({"\ud800": "red"}, "\ud800"),
        ({"a`b": "red"}, "a`b"),
        ({"": "red"}, ""),
    ],
)
def test_a_field_that_cannot_be_taken_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        parsed(GOOD | changes)
    assert refused.value.field == field


@pytest.mark.parametrize("field", ["kind", "input"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        parsed({name: value for name, value in GOOD.items() if name != field})
    assert refused.value.field == field
    assert refused.value.reason == "is missing"


def test_an_input_may_have_a_hundred_thousand_characters_of_any_width() -> None:
    assert len(parsed(GOOD | {"input": "🙂" * 100_000}).input) == 100_000


def test_pairs_of_escaped_surrogates_are_one_character() -> None:
    body = parse_body(b'{"kind":"chat","input":"\\ud83d\\ude42"}', CreateGeneration)
    assert body.value.input == "🙂"


@pytest.mark.parametrize("document", [[], "text", 5, None, True, [{}]])
def test_a_document_that_is_no_object_names_no_field(document: object) -> None:
    with pytest.raises(InvalidField) as refused:
        parsed(document)
    assert refused.value.field is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{'kind':1}",
        b'{"kind":"chat",}',
        b'\xef\xbb\xbf{"kind":"chat","input":"x"}',
        '{"kind":"chat","input":"x"}'.encode("utf-16"),
        b'{"kind":"chat","input":"\xff"}',
        b'{"kind":"chat","input":"\xed\xa0\x80"}',
        b'{"kind":"chat","kind":"generate","input":"x"}',
        b'{"kind":"chat","input":"x","model":{"a":1,"a":2}}',
        b'{"kind":"chat","input":NaN}',
        b'{"kind":"chat","input":-Infinity}',
        b'{"kind":"chat","input":"x"} {}',
        b'{"kind":"chat","input":' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"kind":"chat","input":"a\nb"}',
    ],
)
def test_what_is_not_one_json_document_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedBody):
        parse_body(data, CreateGeneration)


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused_and_never_fail(data: bytes) -> None:
    try:
        parse_body(data, CreatePersona)
    except RelayError:
        return


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["kind", "input", "name", "model", "persona_id", "on_active"]) | st.text(),
        st.sampled_from(["chat", "generate", "refine", "x", "queue"]) | json_values,
    )
)
def test_any_object_is_taken_or_refused_and_never_fails(document: dict[str, Any]) -> None:
    try:
        parsed(document)
    except RelayError:
        return


def test_equal_bodies_have_one_canonical_text() -> None:
    one = parse_body(b'{"kind":"chat","input":"\\u00e9"}', CreateGeneration)
    same = parse_body('{ "input" : "é",\n"kind":"chat"}'.encode(), CreateGeneration)
    other = parse_body(b'{"kind":"chat","input":"e"}', CreateGeneration)
    assert one.canonical == same.canonical
    assert one.canonical != other.canonical


def test_a_refine_takes_a_message() -> None:
    body = parse_body(b'{"message":"shorter","on_active":"queue"}', RefinePersona)
    assert body.value == RefinePersona(message="shorter", on_active="queue")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/json; profile=x",
    ],
)
async def test_json_by_any_spelling_is_read(content_type: str) -> None:
    request = request_of(b'{"name":"Ada",', b'"brief":"x"}', content_type=content_type)
    assert (await read_body(request, CreatePersona)).value == CreatePersona(name="Ada", brief="x")


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/json; charset=latin-1",
        "multipart/form-data; boundary=application/json",
    ],
)
async def test_anything_but_json_is_an_unsupported_media_type(content_type: str) -> None:
    with pytest.raises(UnsupportedMedia):
        await read_body(request_of(b"{}", content_type=content_type), CreatePersona)


async def test_an_announced_length_over_the_limit_is_refused_unread() -> None:
    request = request_of(content_type="application/json", content_length="1048577")
    with pytest.raises(BodyTooLarge):
        await read_body(request, CreatePersona)


async def test_a_body_over_the_limit_is_refused_while_it_is_read() -> None:
    chunk = b" " * 65_536
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    with pytest.raises(BodyTooLarge):
        await read_body(request, CreatePersona)
    assert read <= MAX_BODY_BYTES + len(chunk)


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    text = b'{"name":"Ada","brief":"x"}'
    request = request_of(text.ljust(1_048_576), content_type="application/json")
    assert (await read_body(request, CreatePersona)).value.name == "Ada"


async def test_a_body_that_breaks_off_is_malformed() -> None:
    request = request_of(content_type="application/json")
    with pytest.raises(MalformedBody):
        await read_body(request, CreatePersona)


async def test_a_call_without_fields_takes_no_body_or_an_empty_object() -> None:
    await refuse_body(request_of())
    await refuse_body(request_of(b"", content_length="0", content_type="text/plain"))
    await refuse_body(request_of(b"{}", content_length="2", content_type="application/json"))
    await refuse_body(request_of(b"", transfer_encoding="chunked", content_type="application/json"))


async def test_a_call_without_fields_refuses_a_body_with_some() -> None:
    with pytest.raises(InvalidField):
        await refuse_body(
            request_of(b'{"a":1}', content_length="7", content_type="application/json")
        )
    with pytest.raises(UnsupportedMedia):
        await refuse_body(request_of(b"a=1", content_length="3", content_type="text/plain"))
