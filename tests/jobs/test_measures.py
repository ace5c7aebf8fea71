"""What is counted is what was given, bucket by bucket, whoever reads it in between."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.exposition import expose, histogram
from jobs.measures import WAIT_BOUNDS, Distribution
from tests.services.scrape import Scrape


@given(st.lists(st.floats(min_value=0, max_value=1000)))
def test_each_bucket_holds_all_that_is_not_above_its_bound(values: list[float]) -> None:
    distribution = Distribution(WAIT_BOUNDS)
    for value in values:
        distribution.add(value)
    scrape = Scrape(expose([histogram("x", "An x.", distribution)]).decode())
    for bound in WAIT_BOUNDS:
        expected = sum(value <= bound for value in values)
        assert scrape.value("x_bucket", le=str(bound)) == expected
    assert scrape.value("x_bucket", le="+Inf") == scrape.value("x_count") == len(values)
    assert abs(scrape.value("x_sum") - sum(values)) < 1e-6 * (1 + sum(values))


def test_a_time_below_zero_counts_as_none() -> None:
    distribution = Distribution(WAIT_BOUNDS)
    distribution.add(-0.4)
    assert (distribution.counts[0], distribution.total) == (1, 0.0)
