"""The benchmarks' own parts run, so that the next change can be compared."""

from functools import partial

import pytest

from tests.benchmarks import parts
from tests.benchmarks.plot import curve


def test_every_part_without_a_server_runs_and_its_cost_is_a_time() -> None:
    for work in (partial(parts.decode, 1), parts.encode, parts.hear, parts.apply):
        assert parts.measured(work, 1) > 0


async def test_appending_runs_and_its_cost_is_a_time(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "FLUSHES", 2)
    assert await parts.append(redis_url) > 0


async def test_passing_on_runs_and_its_cost_is_a_time() -> None:
    assert await parts.passed_on() > 0


def test_a_curve_shows_each_of_its_points() -> None:
    drawn = curve([(10, 120.0), (100, 90.4)], "title", "across", "up")
    assert drawn.count("<circle") == 2
    assert ">120<" in drawn
    assert ">90<" in drawn
