"""Counts as Prometheus reads them; the one file that knows prometheus-client.

Families are made from plain numbers at each scrape, so that nothing on a hot path meets a metric
object, and a process whose figures nobody reads pays nothing for them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from jobs.measures import Distribution

__all__ = ["CONTENT_TYPE", "Metric", "counter", "expose", "gauge", "histogram"]

Values = Mapping[Any, float] | float
"""One number, or a number for each value of the label, or of the labels in their order."""


def counter(name: str, meaning: str, values: Values, *labels: str) -> Metric:
    """What only grows while the process lives; its name gets `_total`."""
    family = CounterMetricFamily(name, meaning, labels=labels)
    for label_values, value in _labelled(values):
        family.add_metric(label_values, value)
    return family


def gauge(name: str, meaning: str, values: Values, *labels: str) -> Metric:
    """What is so now."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for label_values, value in _labelled(values):
        family.add_metric(label_values, value)
    return family


def histogram(name: str, meaning: str, distribution: Distribution) -> Metric:
    """A distribution with Prometheus's cumulative buckets."""
    bounds = [*(str(bound) for bound in distribution.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(distribution.counts), strict=True))
    family = HistogramMetricFamily(name, meaning)
    family.add_metric([], buckets, distribution.total)
    return family


def expose(families: Iterable[Metric]) -> bytes:
    """The text that a scrape is answered with: these, and the process's memory, CPU and files."""
    registry = CollectorRegistry()
    registry.register(_Given(tuple(families)))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    families: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        return self.families

    def describe(self) -> Iterable[Metric]:
        # Without it the registry would collect once more, only to compare names.
        return ()


def _labelled(values: Values) -> Iterable[tuple[tuple[str, ...], float]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield (key if isinstance(key, tuple) else (key,)), value
    else:
        yield (), values
