"""What one worker tells Prometheus, read from plain counts at the moment of the scrape."""

from dataclasses import asdict, dataclass

from jobs.breaker import Breakers
from jobs.exposition import Metric, counter, gauge, histogram
from jobs.journal import Journal
from jobs.process_metrics import process_families
from jobs.publisher import Publisher
from jobs.pubsub import PubSub
from jobs.queue import Queue
from jobs.rescue import Rescuer
from jobs.runner import Runner
from jobs.signals import Signals


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """The parts of a worker that count."""

    capacity: int
    runner: Runner
    publisher: Publisher
    breakers: Breakers
    journal: Journal
    rescuer: Rescuer
    queue: Queue
    signals: Signals
    pubsub: PubSub

    def families(self) -> list[Metric]:
        """All of it as it is now."""
        return [
            *process_families(
                self.rescuer.measures,
                self.rescuer.counts,
                self.queue,
                self.signals,
                self.pubsub.connections,
            ),
            *self._attempts(),
            *self._log(),
            *self._journal(),
            counter(
                "relay_breaker_events",
                "What this worker saw of circuit breakers.",
                asdict(self.breakers.counts),
                "event",
            ),
        ]

    def _attempts(self) -> list[Metric]:
        measures = self.rescuer.measures
        return [
            gauge(
                "relay_worker_running",
                "Generations that this worker runs.",
                len(self.runner.running),
            ),
            gauge(
                "relay_worker_capacity",
                "Generations that this worker runs at once at most.",
                self.capacity,
            ),
            counter(
                "relay_attempts",
                "Attempts that this worker claimed, by what they began after.",
                measures.attempts,
                "after",
            ),
            counter(
                "relay_kinds_unknown",
                "Offers of a generation whose kind this worker does not know, left to others.",
                measures.unknown_kinds,
            ),
            counter(
                "relay_commits_refused",
                "Ends refused by the fence: a newer attempt has the generation.",
                measures.fenced,
            ),
            counter(
                "relay_commits_kept",
                "Outcomes that the database did not take at once, kept in the journal, by why.",
                measures.kept,
                "why",
            ),
            histogram(
                "relay_queue_wait_seconds",
                "From acceptance to the first claim, a wait in its conversation's line included.",
                measures.queue_wait,
            ),
            histogram(
                "relay_first_token_seconds",
                "From acceptance to the model's first content, of first attempts.",
                measures.first_token,
            ),
            histogram(
                "relay_model_first_token_seconds",
                "From the claim to the model's first content.",
                measures.model_first_token,
            ),
            histogram(
                "relay_token_gap_seconds",
                "Between two pieces of an answer as they came from the model.",
                measures.token_gap,
            ),
            histogram(
                "relay_attempt_seconds",
                "From the claim to the end of the attempt, whatever ended it.",
                measures.attempt,
            ),
        ]

    def _log(self) -> list[Metric]:
        counts, lag = self.publisher.counts, self.publisher.lag()
        return [
            gauge("relay_log_lag_events", "Events appended that Redis has not taken.", lag.events),
            gauge(
                "relay_log_lag_seconds",
                "Age of the oldest event that Redis has not taken, at most.",
                lag.seconds,
            ),
            counter("relay_flushes", "Calls that carried events to Redis.", counts.flushes),
            counter("relay_publish_failures", "Those of them that failed.", counts.failures),
            counter("relay_logs_reseeded", "Logs that Redis lost, seeded anew.", counts.reseeds),
            counter(
                "relay_stale_writers",
                "Attempts that the log refused since a newer one writes it.",
                counts.stale,
            ),
            counter(
                "relay_ends_untold",
                "Ends that could not be published in time; readers find them in the row.",
                counts.given_up,
            ),
        ]

    def _journal(self) -> list[Metric]:
        stats = self.journal.stats()
        return [
            gauge(
                "relay_journal_pending",
                "Finished generations in the journal that the database has not taken.",
                stats["pending"],
            ),
            gauge("relay_journal_bytes", "Size of the journal's file.", stats["bytes"]),
        ]
