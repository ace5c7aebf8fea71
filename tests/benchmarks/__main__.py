"""`python -m tests.benchmarks [parts] [streams] [scale]`: figures as Markdown; all without a name.

Run it on a quiet machine, and compare with a run of the same day: only ratios count.
"""

import statistics
import sys
from pathlib import Path

from jobs.limits import raise_file_limit
from tests.benchmarks import parts, plot, scale, streams

PLOT = Path("docs/performance-streams.svg")


def _parts() -> None:
    print("| part | µs | per |\n|---|---|---|")  # noqa: T201
    for name, unit, cost in parts.costs():
        print(f"| {name} | {cost:.1f} | {unit} |", flush=True)  # noqa: T201


def _streams() -> None:
    print("| streams | relay | worker | Redis | µs a token | of |\n|---|---|---|---|---|---|")  # noqa: T201
    points = []
    for number, costs in streams.sweep():
        totals = [sum(cost.values()) for cost in costs]
        middle = statistics.median(totals)
        points.append((number, middle))
        cost = streams.median(costs)
        each = " | ".join(f"{cost[name]:.0f}" for name in ("relay", "worker", "redis"))
        of = ", ".join(f"{total:.0f}" for total in totals)
        print(f"| {number} | {each} | {middle:.0f} | {of} |", flush=True)  # noqa: T201
    title = f"Cost of a delivered token, {streams.TOKENS_A_SECOND} tokens a second in all"
    PLOT.write_text(plot.curve(points, title, "streams at once", "µs of CPU, all processes"))


def _scale() -> None:
    for name, figures in scale.figures().items():
        told = ", ".join(f"{key} {value:.1f}" for key, value in figures.items())
        print(f"- {name}: {told}", flush=True)  # noqa: T201


CHOICES = {"parts": _parts, "streams": _streams, "scale": _scale}

if __name__ == "__main__":
    raise_file_limit()
    for choice in sys.argv[1:] or CHOICES:
        CHOICES[choice]()
