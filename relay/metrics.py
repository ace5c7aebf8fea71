"""What a relay tells Prometheus: its own counts, and how the whole system stands by the database.

What every relay reads from the same database is told by each of them alike: take the maximum, not
the sum.
"""

from jobs.exposition import Metric, counter, gauge
from jobs.process_metrics import process_families
from jobs.store.breakers import Breaker
from jobs.store.overview import Overview
from relay.figures import Figures
from relay.services import Services

_BREAKER_STATES = ("closed", "open", "half_open")


def relay_families(services: Services, figures: Figures) -> list[Metric]:
    """All of it as it is now; what the database did not tell has no sample."""
    counts, sources = services.counts, services.sources
    return [
        *process_families(
            counts.measures,
            counts.rescues,
            services.queue,
            services.signals,
            sources.hub.connections,
        ),
        counter(
            "relay_generations_accepted",
            "Generations that this relay stored; replays are none.",
            counts.accepted,
            "kind",
        ),
        counter(
            "relay_budget_refusals",
            "Requests refused by a limit of the sliding minute.",
            counts.over_budget,
            "scope",
            "unit",
        ),
        counter(
            "relay_guard_refusals",
            "Requests refused by another guard: one at a time in a conversation, or cascade.",
            counts.guarded,
            "guard",
        ),
        counter(
            "relay_problems", "Answers that were a problem, by its code.", counts.problems, "code"
        ),
        gauge("relay_open_streams", "Open streams.", services.slots.open_by_kind(), "kind"),
        counter(
            "relay_slow_readers_cut",
            "Streams cut off since their reader took nothing for too long.",
            sources.pulse.cut_off,
        ),
        *_system(figures),
    ]


def _system(figures: Figures) -> list[Metric]:
    overview, depth = figures.overview, figures.queue_depth
    return [
        gauge("relay_database_up", "Whether the database answered.", int(overview is not None)),
        gauge("relay_redis_up", "Whether Redis answered.", int(depth is not None)),
        gauge(
            "relay_queue_depth",
            "Jobs in the queue, those being claimed included.",
            {} if depth is None else depth,
        ),
        gauge(
            "relay_generations",
            "Generations that have not ended: queued, waiting behind another, running, lost.",
            {} if overview is None else _standing(overview),
            "state",
        ),
        gauge(
            "relay_oldest_queued_seconds",
            "Age of the oldest generation that could be claimed and was not.",
            {} if overview is None else overview.standing.oldest_queued_seconds,
        ),
        gauge(
            "relay_workers",
            "Workers known to the database, by whether they were heard of within the lease.",
            {} if overview is None else _workers(overview),
            "state",
        ),
        gauge(
            "relay_places",
            "Generations that the live workers run at once at most.",
            {}
            if overview is None
            else sum(worker.capacity for worker in overview.workers if worker.alive),
        ),
        gauge(
            "relay_breaker",
            "1 for the state of each circuit breaker that counts failures, 0 for the others.",
            {} if overview is None else _breakers(overview.breakers),
            "endpoint",
            "model",
            "state",
        ),
    ]


def _standing(overview: Overview) -> dict[str, float]:
    standing = overview.standing
    return {state: getattr(standing, state) for state in ("queued", "waiting", "running", "lost")}


def _workers(overview: Overview) -> dict[str, float]:
    alive = sum(worker.alive for worker in overview.workers)
    return {"alive": alive, "silent": len(overview.workers) - alive}


def _breakers(breakers: tuple[Breaker, ...]) -> dict[tuple[str, ...], float]:
    return {
        (breaker.endpoint, breaker.model, state): int(breaker.state == state)
        for breaker in breakers
        for state in _BREAKER_STATES
    }
