"""What may be asked for, and what can be refused of it without looking into the database."""

from typing import Any

import msgspec

from jobs.clean import unacceptable
from jobs.errors import InvalidRequest
from jobs.generation import Generation, Kind, OnActive


class Thread(msgspec.Struct, frozen=True):
    """A client's own name for a conversation: one an owner and protocol, 1 to 200 characters."""

    protocol: str
    key: str
    field: str = "id"
    """What the protocol's own requests call it."""


class Replaces(msgspec.Struct, frozen=True):
    """What a request takes back of its thread's chat: all that came after the answer `keeps`.

    That is a generation's id, or empty where nothing stays. Where it is None, or none of the chat's
    answers, `newest` tells whether the newest answer is taken back, or nothing.
    """

    keeps: str | None
    newest: bool


class Tries(msgspec.Struct, frozen=True):
    """How often a client that sends no idempotency key says that it has tried this request.

    One that finds the same request stored, from a try before it and not longer ago than `longest`
    seconds for each of them, is that request once more; so is one that was overtaken by a later
    try. `since` is the monotonic time at which it came.
    """

    before: int
    longest: float
    since: float


class NewGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for; `name` is that of the persona that a `generate` makes.

    A `thread` that is known already goes on where it is: its conversation and persona, and so the
    kind, are the stored ones, whatever else is asked for. `follows` is the generation that it goes
    on from: in the same conversation if that one is its newest, else in a new one that begins with
    all that led there. `asked` is what the answers of another protocol repeat of the request, its
    `protocol` among it. `traceparent` is where the request stands in a trace, in W3C's form.
    One that `replaces` what its thread's chat said last goes on from what was said before that, in
    a conversation that branches off there; see Replaces.
    """

    owner: str
    kind: Kind
    input: str
    model: str
    conversation_id: str | None = None
    follows: str | None = None
    persona_id: str | None = None
    name: str | None = None
    thread: Thread | None = None
    replaces: Replaces | None = None
    on_active: OnActive = "reject"
    idempotency_key: str | None = None
    idempotency_hash: str | None = None
    tries: Tries | None = None
    asked: dict[str, Any] | None = None
    caused_by: str | None = None
    restartable: bool = True
    traceparent: str | None = None


class Accepted(msgspec.Struct, frozen=True):
    """A stored generation.

    `replayed`: it was there already, as the same request. `starts`: it is active, so it is to be
    enqueued now (false: it waits in line, or was replayed). `interrupted`: the ids whose
    cancellation this asked for; those that were still queued have ended with it.
    """

    generation: Generation
    replayed: bool
    starts: bool
    interrupted: tuple[str, ...]
    owner: str


def refuse_unfit(new: NewGeneration) -> None:
    """Raises InvalidRequest for a field that no stored thing could make acceptable."""
    if new.kind is Kind.REFINE and new.persona_id is None:
        raise InvalidRequest("persona_id", "is required for refine")
    if new.kind is not Kind.REFINE and new.persona_id is not None:
        raise InvalidRequest("persona_id", "is for refine only")
    if new.kind is Kind.GENERATE and new.conversation_id is not None:
        raise InvalidRequest("conversation_id", "a generate makes its own conversation")
    if new.kind is not Kind.GENERATE and new.name is not None:
        raise InvalidRequest("name", "is for generate only")
    if new.follows is not None and new.conversation_id is not None:
        raise InvalidRequest("follows", "says which conversation it is")
    for field in ("input", "name", "model", "owner", "idempotency_key"):
        if reason := unacceptable(getattr(new, field) or ""):
            raise InvalidRequest(field, reason)
    if new.thread is not None:
        if reason := unacceptable(new.thread.key):
            raise InvalidRequest(new.thread.field, reason)
        if not 1 <= len(new.thread.key) <= 200:
            raise InvalidRequest(new.thread.field, "must be 1 to 200 characters")
    for field, limit in (("model", 200), ("owner", 200), ("idempotency_key", 255)):
        if len(getattr(new, field) or "") > limit:
            raise InvalidRequest(field, f"is longer than {limit} characters")
