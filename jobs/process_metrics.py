"""The figures that relays and workers have in common: what was ended, rescued, and not told."""

from dataclasses import asdict

from jobs.exposition import Metric, counter
from jobs.measures import Measures
from jobs.queue import Queue
from jobs.rescue_counts import RescueCounts
from jobs.signals import Signals


def process_families(
    measures: Measures, rescues: RescueCounts, queue: Queue, signals: Signals, connections: int
) -> list[Metric]:
    """These counts; `connections` are those that were made to subscribe to Redis."""
    done = asdict(rescues)
    failures = done.pop("failures")
    return [
        counter(
            "relay_generations_ended",
            "Generations whose end this process committed, by the error's code if there is one.",
            measures.ended,
            "kind",
            "outcome",
            "code",
        ),
        counter(
            "relay_model_tokens",
            "Tokens that the model told of the generations whose end this process committed.",
            measures.tokens,
            "direction",
        ),
        counter(
            "relay_rescues",
            "What this process found undone and did: expired, enqueued, offered again, ended.",
            done,
            "duty",
        ),
        counter("relay_rescue_failures", "Duties of the rescuer that failed.", failures),
        counter(
            "relay_enqueue_failures",
            "Generations that Redis did not take into the queue; they are offered again.",
            queue.failures,
        ),
        counter(
            "relay_hint_failures",
            "Hints between processes that Redis did not take; the rows tell the same later.",
            signals.failures,
        ),
        counter(
            "relay_subscriber_connections",
            "Connections made to subscribe to Redis; each after the first follows a lost one.",
            connections,
        ),
    ]
