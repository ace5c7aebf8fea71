"""A line of the journal: one JSON object with a checksum, to bytes and back.

A line is `{"crc32":"<8 hex digits>","kind":…}` and a newline. The sum is of the object's UTF-8 text
without the `crc32` member, so that a changed byte is found even where the JSON is still valid.
"""

import zlib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from jobs.journal_errors import RecordRefused

Outcome = Literal["replayed", "refused"]
_Name = Annotated[str, Meta(min_length=1)]

_HEAD = b'{"crc32":"%08x",'
_HEAD_LENGTH = len(_HEAD % 0)
_DONE_START = b'{"kind":"done",'


class JournalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A finished generation that the database did not take yet (protocol §7).

    `event_id` names the record for good, as `<generation_id>:<attempt>`; `payload` is opaque to the
    journal, of JSON's own types (NaN and infinity, which JSON lacks, become null); `written_at` is
    RFC 3339 in UTC with milliseconds, by the writer's clock.
    """

    kind: Literal["commit"] = "commit"
    event_id: _Name
    generation_id: _Name
    attempt: Annotated[int, Meta(ge=1)]
    written_at: _Name
    payload: dict[str, Any]


class DoneMark(msgspec.Struct, frozen=True, kw_only=True):
    """Says of an earlier record that it needs no replay: it was committed, or the fence refused."""

    kind: Literal["done"] = "done"
    event_id: _Name
    outcome: Outcome


def encode_line(item: JournalRecord | DoneMark) -> bytes:
    """The item's line, newline included. Raises RecordRefused if it could not be read back."""
    try:
        body = msgspec.json.encode(item)
        _decode_body(body)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RecordRefused(item.event_id, str(error)) from None
    return _HEAD % zlib.crc32(body) + body[1:] + b"\n"


def decode_line(line: bytes) -> JournalRecord | DoneMark:
    """What a line without its newline says. Raises ValueError with the reason if it is damaged."""
    body = b"{" + line[_HEAD_LENGTH:]
    if line[:_HEAD_LENGTH] != _HEAD % zlib.crc32(body):
        raise ValueError("the checksum does not match")
    try:
        return _decode_body(body)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


def _decode_body(body: bytes) -> JournalRecord | DoneMark:
    if body.startswith(_DONE_START):
        return msgspec.json.decode(body, type=DoneMark)
    return msgspec.json.decode(body, type=JournalRecord)
