"""What a scrape said: every sample of it, as Prometheus's own parser reads them."""

from collections.abc import Iterator

from prometheus_client.core import Sample
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self._families = list(text_string_to_metric_families(text))

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels; KeyError without one."""
        found = [
            sample.value
            for sample in self._samples()
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        if not found:
            raise KeyError(f"{name} {labels}")
        return sum(found)

    def has(self, name: str, **labels: str) -> bool:
        """Whether there is such a sample."""
        try:
            self.value(name, **labels)
        except KeyError:
            return False
        return True

    def _samples(self) -> Iterator[Sample]:
        for family in self._families:
            yield from family.samples
