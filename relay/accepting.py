"""A request becomes a generation, or is refused with nothing stored (protocol §4).

Every door leads through `accept_generation`, so nothing is enqueued without passing the limits.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable

import msgspec
from starlette.requests import Request

from jobs.errors import CascadeTooDeep, GenerationActive, OverBudget
from jobs.ids import new_id
from jobs.settings import Settings
from jobs.store.intake import Accepted, Budget, NewGeneration, accept
from jobs.tracing import here
from relay.errors import InvalidField
from relay.services import Services

logger = logging.getLogger(__name__)


def resolve_model(settings: Settings, named: str | None) -> str:
    """The model to run: the one that a request names, else the default.

    Raises InvalidField for one that is not allowed, or when there is no default.
    """
    model = named or settings.relay_model
    if model is None:
        raise InvalidField("model", "this server has no default model: name one")
    if not settings.allows_model(model):
        raise InvalidField("model", f"the model {model!r} is not offered here")
    return model


def model_or_default(settings: Settings, named: str | None) -> str:
    """The model that a request names if it is offered here, else the default.

    For protocols whose clients always name one; raises InvalidField without a default.
    """
    offered = named is not None and settings.allows_model(named)
    return resolve_model(settings, named if offered else None)


def budget_of(settings: Settings) -> Budget:
    """The limits of the sliding minute (protocol §8)."""
    return Budget(
        owner_generations=settings.relay_owner_generations_per_minute,
        total_generations=settings.relay_total_generations_per_minute,
        owner_tokens=settings.relay_owner_tokens_per_minute,
        total_tokens=settings.relay_total_tokens_per_minute,
    )


async def accept_generation(
    services: Services,
    new: NewGeneration,
    generation_id: str | None = None,
    ahead: Callable[[Accepted], None] | None = None,
) -> Accepted:
    """Stores this generation, within the limits; the caller starts it, and may have named it.

    `ahead` is told of it as jobs.store.intake.accept does.

    Raises InvalidRequest for a kind that is not known or refuses the input, and what
    jobs.store.intake.accept does.
    """
    settings = services.settings.jobs
    services.kinds.refuse_unfit(new.kind, new.input)
    # Before the span below: workers go on beside it, not within it.
    new = msgspec.structs.replace(new, traceparent=here().traceparent)
    try:
        with here().child("store"):
            accepted = await accept(
                services.db,
                new,
                generation_id=generation_id or new_id("gen"),
                budget=budget_of(settings),
                expires_seconds=settings.relay_queue_expires_seconds,
                ahead=ahead,
            )
    except OverBudget as error:
        services.counts.over_budget[error.scope, error.unit] += 1
        logger.warning("a %s of %s was refused: %s", new.kind, new.owner, error)
        raise
    except CascadeTooDeep as error:
        services.counts.guarded["cascade"] += 1
        logger.warning("a cascade was refused: %s", error, extra={"generation": error.caused_by})
        raise
    except GenerationActive:
        services.counts.guarded["one at a time"] += 1
        raise
    services.owners.note(accepted.generation.id, accepted.owner)
    if not accepted.replayed:
        services.counts.accepted[new.kind.value] += 1
        # In the loop's next turn: a line of log costs 0.2 ms, and a reader waits for what follows.
        asyncio.get_running_loop().call_soon(_log_accepted, accepted.generation.id, new.kind.value)
    return accepted


def _log_accepted(generation_id: str, kind: str) -> None:
    logger.info("generation accepted", extra={"generation": generation_id, "kind": kind})


def request_hash(request: Request, canonical_body: bytes) -> str:
    """What an Idempotency-Key stands for: the same path and the same JSON, in hex."""
    path = request.url.path.removeprefix(_prefix(request))
    return hashlib.sha256(path.encode() + b"\n" + canonical_body).hexdigest()


def accepted_headers(request: Request, accepted: Accepted) -> dict[str, str]:
    """`Location`, below the mount's prefix, and `Idempotent-Replay` for what was stored before."""
    path = f"/v1/generations/{accepted.generation.id}"
    return {"Location": _prefix(request) + path, **replay_headers(accepted)}


def replay_headers(accepted: Accepted) -> dict[str, str]:
    """`Idempotent-Replay` for what was stored before."""
    return {"Idempotent-Replay": "true"} if accepted.replayed else {}


def _prefix(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")
