"""Generations started from Python, without HTTP: the same checks, limits and order as over it.

generation = await enqueue(relay.state.services, owner="ann", input="Say hello")
"""

import hashlib
import json

from jobs.errors import InvalidRequest
from jobs.generation import Generation, Kind, OnActive
from jobs.store.intake import NewGeneration
from relay.accepting import accept_generation, resolve_model
from relay.bodies import MAX_INPUT_CHARACTERS
from relay.services import Services
from relay.streaming import start_accepted


async def enqueue(
    services: Services,
    *,
    owner: str,
    input: str,
    kind: str = Kind.CHAT,
    model: str | None = None,
    conversation_id: str | None = None,
    persona_id: str | None = None,
    name: str | None = None,
    on_active: OnActive = "reject",
    idempotency_key: str | None = None,
    caused_by: str | None = None,
) -> Generation:
    """Stores a generation and lets it start; gives it as it was stored, its id to be followed by.

    `services` are an app's (`app.state.services`, within its lifespan), or from `open_services`.
    `owner` is whose limits it counts against and who may see it. `caused_by` is the id of the
    generation that this one follows from: of the same owner, and not caused itself. The same
    `idempotency_key` with the same arguments gives the same generation again.

    Nothing is stored where it raises InvalidRequest or InvalidField, NotFound, CascadeTooDeep,
    IdempotencyKeyReused, OverBudget, GenerationActive or Unavailable; OutcomeUnknown where the
    database did not tell.
    """
    if not input.strip() or len(input) > MAX_INPUT_CHARACTERS:
        raise InvalidRequest("input", f"must have 1 to {MAX_INPUT_CHARACTERS} characters")
    new = NewGeneration(
        owner=owner,
        kind=_kind(services, kind),
        input=input,
        model=resolve_model(services.settings.jobs, model),
        conversation_id=conversation_id,
        persona_id=persona_id,
        name=name,
        on_active=on_active,
        idempotency_key=idempotency_key,
        idempotency_hash=_hash(
            kind, input, model, conversation_id, persona_id, name, on_active, caused_by
        ),
        caused_by=caused_by,
    )
    accepted = await accept_generation(services, new)
    if not accepted.replayed:
        await start_accepted(services, accepted)
    return accepted.generation


def _kind(services: Services, name: str) -> Kind:
    if name not in services.kinds.names:
        raise InvalidRequest("kind", f"{name!r} is not known")
    return Kind(name)


def _hash(*arguments: str | None) -> str:
    """What an idempotency key stands for; no request over HTTP has the same."""
    document = json.dumps(["enqueue", *arguments])
    return hashlib.sha256(document.encode("utf-8", "surrogatepass")).hexdigest()
