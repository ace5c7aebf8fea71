"""What a request may carry: every body as a type, read so that a bad one is refused by name.

Refusals come in the order of protocol §4: media type, size, JSON, fields.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Generic, NoReturn, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request

from jobs.clean import unacceptable
from jobs.generation import Kind, OnActive
from relay.errors import BodyTooLarge, InvalidField, MalformedBody, UnsupportedMedia

MAX_BODY_BYTES = 1 << 20
MAX_HISTORY_BYTES = 4 << 20
"""Of a body that repeats a chat: some clients send no other, however little of it is taken."""
MAX_INPUT_CHARACTERS = 100_000

InputText = Annotated[
    str, Meta(min_length=1, max_length=MAX_INPUT_CHARACTERS, description="What the user says.")
]
PersonaName = Annotated[str, Meta(min_length=1, max_length=200)]
ModelName = Annotated[str, Meta(min_length=1, max_length=200)]

PLACES: Mapping[Kind, tuple[str, ...]] = {
    Kind.CHAT: ("conversation_id",),
    Kind.GENERATE: ("name",),
    Kind.REFINE: ("conversation_id", "persona_id"),
}
"""The fields that say where a generation of each kind stands; the other kinds have no use for them.

A refine needs its persona; the rest may be absent. Kinds that are not here stand where a chat does.
"""

_MISPLACED = {
    "persona_id": "only a refine continues a persona",
    "conversation_id": "a generate begins its persona's conversation",
    "name": "only a generate names a persona",
}

_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_PLACE = re.compile(r"(.*) - at `\$\.([^.\[`]+).*`", re.DOTALL)


class CreateGeneration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/generations`."""

    kind: Kind
    input: InputText
    conversation_id: str | None = None
    persona_id: str | None = None
    name: PersonaName | None = None
    model: ModelName | None = None
    on_active: OnActive = "reject"

    def __post_init__(self) -> None:
        if self.kind is Kind.REFINE and self.persona_id is None:
            raise InvalidField("persona_id", "a refine needs the persona that it continues")
        places = PLACES.get(self.kind, PLACES[Kind.CHAT])
        for field, reason in _MISPLACED.items():
            if field not in places and getattr(self, field) is not None:
                raise InvalidField(field, reason)


class CreatePersona(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/personas`."""

    name: PersonaName
    brief: InputText
    model: ModelName | None = None


class RefinePersona(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/personas/{id}/refine`."""

    message: InputText
    model: ModelName | None = None
    on_active: OnActive = "reject"


class NoFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that takes no fields; its body may be absent or `{}`."""


B = TypeVar("B", bound=msgspec.Struct)


class Body(msgspec.Struct, Generic[B], frozen=True):
    """A request's body: its value, and the one JSON text that every equal body has."""

    value: B
    canonical: bytes


async def read_body(request: Request, kind: type[B], *, max_bytes: int = MAX_BODY_BYTES) -> Body[B]:
    """The request's body as this type.

    Reads at most `max_bytes`, whatever length was announced. Raises UnsupportedMedia,
    BodyTooLarge, MalformedBody or InvalidField, in this order.
    """
    _require_json(request.headers.get("content-type", ""))
    return parse_body(await _read(request, max_bytes), kind)


async def refuse_body(request: Request) -> None:
    """Reads the body of a call that takes none; raises as read_body unless it is empty or `{}`."""
    declared = request.headers.get("content-type", "")
    if request.headers.get("content-length", "0") == "0" and not _is_chunked(request):
        return
    _require_json(declared)
    data = await _read(request, MAX_BODY_BYTES)
    if data:
        parse_body(data, NoFields)


def parse_body(data: bytes, kind: type[B]) -> Body[B]:
    """These bytes as a body of this type; raises MalformedBody or InvalidField."""
    document = _parse_json(data)
    if not isinstance(document, dict):
        raise InvalidField(None, "the body must be a JSON object")
    for field, value in document.items():
        # Lone surrogates would make msgspec raise an error that names no field.
        if unacceptable(field):
            raise InvalidField(field, "unknown field")
        if isinstance(value, str) and (reason := unacceptable(value)):
            raise InvalidField(field, reason)
    try:
        value = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        _refuse(error)
    for field in value.__struct_fields__:
        text = getattr(value, field)
        if isinstance(text, str) and text and not text.strip():
            raise InvalidField(field, "is blank")
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # Deep in a field that is read loosely there may still be lone surrogates.
    return Body(value, canonical.encode("utf-8", "surrogatepass"))


def _require_json(content_type: str) -> None:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = {
        part.partition("=")[2].strip('" ') for part in parameters if part.startswith("charset=")
    }
    if media_type != "application/json" or charsets - {"utf-8", "utf8"}:
        raise UnsupportedMedia(content_type)


def _is_chunked(request: Request) -> bool:
    return "transfer-encoding" in request.headers


async def _read(request: Request, max_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise BodyTooLarge(max_bytes)
    chunks = bytearray()
    try:
        async for chunk in request.stream():
            # Also without an announced length, no more than the limit is ever held.
            if len(chunks) + len(chunk) > max_bytes:
                raise BodyTooLarge(max_bytes)
            chunks += chunk
    except ClientDisconnect:
        raise MalformedBody("the body ended before it was complete") from None
    return bytes(chunks)


def _parse_json(data: bytes) -> Any:
    if not data:
        raise MalformedBody("the body is empty")
    try:
        return json.loads(
            data.decode(), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError:
        raise MalformedBody("the body is not UTF-8") from None
    except RecursionError:
        raise MalformedBody("the body is nested too deeply") from None
    except ValueError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            # Two readers of such a body could each believe another value.
            raise MalformedBody(f"the body names {name!r} twice")
        fields[name] = value
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBody(f"the body is not JSON: {name}")


def _refuse(error: msgspec.ValidationError) -> NoReturn:
    text = str(error)
    if match := _MISSING.fullmatch(text):
        raise InvalidField(match[1], "is missing") from None
    if match := _UNKNOWN.fullmatch(text):
        raise InvalidField(match[1], "unknown field") from None
    if match := _PLACE.fullmatch(text):
        raise InvalidField(match[2], match[1]) from None
    raise InvalidField(None, text) from None
