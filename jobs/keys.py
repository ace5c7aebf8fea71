"""Every name that this project uses in Redis, in one place."""

CONTROL = "relay:control"
"""Channel to all workers: `cancel <generation>` and `check <generation>`."""

QUEUE = "relay:queue"
"""arq's queue; a message on the channel of the same name wakes the workers."""

IDLE = "relay:idle"
"""The workers that have room, each with when it last found the queue empty."""


def offers(worker_id: str) -> str:
    """The channel on which a worker that has room is given a job as it is put in the queue."""
    return f"{QUEUE}:{worker_id}"


def log(generation_id: str) -> str:
    """The stream that holds a generation's events."""
    return f"relay:log:{generation_id}"


def live(generation_id: str) -> str:
    """The channel on which its events are published as they are appended."""
    return f"relay:live:{generation_id}"


def feed(owner: str) -> str:
    """The channel that tells of an owner's generations as they start and end."""
    return f"relay:feed:{owner}"
