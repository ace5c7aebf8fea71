"""What can go wrong between the database, the log and the queue; each error carries its data.

JobsError
├── NotFound            no such resource, or another owner's
├── InvalidRequest      a field that can't be taken, found before anything was stored
├── Conflict
│   ├── GenerationActive        the conversation has an active generation
│   └── IdempotencyKeyReused    the key was used with another body
├── OverBudget          a limit of a sliding minute is used up
├── CascadeTooDeep      work caused by work that was itself caused
├── OutcomeUnknown      the database did not tell whether it stored the generation
└── Unavailable         the database or Redis could not be reached in time
"""


class JobsError(Exception):
    """Any error of the jobs side that a caller may want to tell apart."""


class NotFound(JobsError):
    """There is no such resource for this owner."""

    def __init__(self, resource_id: str) -> None:
        super().__init__(f"{resource_id} was not found")
        self.resource_id = resource_id


class InvalidRequest(JobsError):
    """A field of the request can't be taken; nothing was stored."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Conflict(JobsError):
    """The request is well-formed but collides with what is stored."""


class GenerationActive(Conflict):
    """The conversation already has an active generation."""

    def __init__(self, generation_id: str) -> None:
        super().__init__(f"generation {generation_id} is active in this conversation")
        self.generation_id = generation_id


class IdempotencyKeyReused(Conflict):
    """The idempotency key was used before with another path or body."""

    def __init__(self, generation_id: str) -> None:
        super().__init__("this Idempotency-Key was used with another request")
        self.generation_id = generation_id


class OverBudget(JobsError):
    """A limit of the sliding minute is used up; `retry_after` is in seconds, 1 or more."""

    def __init__(self, scope: str, unit: str, limit: int, retry_after: int) -> None:
        super().__init__(f"the {scope}'s limit of {limit} {unit} a minute is used up")
        self.scope = scope
        self.unit = unit
        self.limit = limit
        self.retry_after = retry_after


class CascadeTooDeep(JobsError):
    """A generation caused by a caused one may not cause another (protocol §8)."""

    def __init__(self, caused_by: str, depth: int) -> None:
        super().__init__(f"{caused_by} is at depth {depth - 1}; depth {depth} is refused")
        self.caused_by = caused_by
        self.depth = depth


class OutcomeUnknown(JobsError):
    """The database did not tell whether the generation was stored; it may exist."""

    def __init__(self, generation_id: str) -> None:
        super().__init__(f"the database did not tell whether {generation_id} was stored")
        self.generation_id = generation_id


class Unavailable(JobsError):
    """A server that this needs could not be reached in time."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not reachable")
        self.what = what
