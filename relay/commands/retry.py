"""A generation that failed, asked for once more as a new one; the old one stays as it ended."""

from jobs.errors import JobsError, NotFound
from jobs.generation import Generation, Kind, OnActive, State
from jobs.store.intake import Accepted, NewGeneration
from jobs.store.personas import read_persona
from jobs.store.reads import read_generation, read_stream_row
from relay.accepting import accept_generation
from relay.services import Services
from relay.streaming import start_accepted

RETRIED = (State.FAILED, State.EXPIRED, State.CANCELLED)


class NotRetried(JobsError):
    """It has not ended without its result, so there is nothing to ask for once more."""

    def __init__(self, generation_id: str, state: State) -> None:
        super().__init__(
            f"{generation_id} is {state}: only {', '.join(RETRIED[:-1])} or {RETRIED[-1]} "
            "ones are retried"
        )
        self.generation_id = generation_id
        self.state = state


async def retry(services: Services, generation_id: str, on_active: OnActive) -> Accepted:
    """Stores and starts a new generation with the kind, input, model and place of an ended one.

    The place is its conversation, or its persona's; a `generate` makes a persona of its own, with
    the same name. It passes the limits like any other. Raises NotFound, NotRetried, and what
    accept_generation does.
    """
    lease = services.settings.jobs.relay_lease_seconds
    row = await read_stream_row(services.db, generation_id, lease_seconds=lease)
    if row is None:
        raise NotFound(generation_id)
    old = await read_generation(services.db, row.owner, generation_id)
    if old.state not in RETRIED:
        raise NotRetried(generation_id, old.state)
    new = NewGeneration(
        owner=row.owner,
        kind=old.kind,
        input=old.input,
        model=old.model,
        conversation_id=None if old.kind in (Kind.GENERATE, Kind.REFINE) else old.conversation_id,
        persona_id=old.persona_id if old.kind is Kind.REFINE else None,
        name=await _name(services, row.owner, old) if old.kind is Kind.GENERATE else None,
        on_active=on_active,
    )
    accepted = await accept_generation(services, new)
    await start_accepted(services, accepted)
    return accepted


async def _name(services: Services, owner: str, old: Generation) -> str | None:
    try:
        return (await read_persona(services.db, owner, old.persona_id or "")).name
    except NotFound:
        # Deleted since: the new one is named after its brief.
        return None
