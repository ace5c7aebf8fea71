"""What the dashboard asks for and what the documents tell of is what the processes expose."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jobs.exposition import Metric, expose
from relay.metrics import relay_families
from relay.services import connect
from relay.settings import RelaySettings
from tests.jobs.at_work import at_work
from tests.services import eventually

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8"))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}

Names = dict[str, frozenset[str]]
"""Every name that may be asked for, with its labels."""


@pytest.fixture
async def exposed(
    redis_url: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Names:
    """What a real worker and a real relay expose."""
    of_worker: list[Callable[[], Iterable[Metric]]] = []

    @asynccontextmanager
    async def capture(_: str, families: Callable[[], Iterable[Metric]]) -> AsyncIterator[int]:
        of_worker.append(families)
        yield 0

    monkeypatch.setattr("jobs.worker.serve_metrics", capture)
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        await work.hire()
        await eventually(lambda: bool(of_worker))
        settings = RelaySettings(jobs=work.settings, relay_auth="off")
        async with connect(settings, work.db) as services:
            of_relay = relay_families(services, await services.figures.figures())
        families = [*of_worker[0](), *of_relay]
    return {
        family.name + ending: frozenset(family._labelnames)  # type: ignore[attr-defined]
        for family in families
        for ending in ENDINGS[family.type]
    }


def process_names() -> set[str]:
    """What every process tells of itself."""
    return set(re.findall(r"^# TYPE (\w+)", expose([]).decode(), flags=re.MULTILINE))


def queries() -> list[str]:
    """Every query of the dashboard."""
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def test_the_dashboard_has_queries_in_every_panel() -> None:
    assert len(queries()) > 30
    for panel in DASHBOARD["panels"]:
        assert panel["type"] == "row" or panel["targets"], panel["title"]


async def test_every_query_of_the_dashboard_asks_for_what_exists(exposed: Names) -> None:
    known = {**exposed, **dict.fromkeys(process_names(), frozenset({"job", "instance"}))}
    for query in queries():
        names = set(re.findall(r"\b(?:relay|process)_[a-z_]+\b", query))
        assert names, query
        assert names <= set(known), query
        asked = set(re.findall(r"([a-z_]+)(?:!?=~?)\"", query))
        asked |= {
            label.strip() for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(",")
        }
        has = frozenset().union(*(known[name] for name in names))
        assert asked <= has | {"le"}, query


def test_legends_name_labels_that_their_query_keeps() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            kept = re.findall(r"by \(([^)]*)\)", target["expr"])
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            labels = {label.strip() for by in kept for label in by.split(",")}
            assert shown <= labels | {"instance"}, target


async def test_every_guard_has_a_figure_or_a_log_line_that_exists(exposed: Names) -> None:
    rules = PROTOCOL.partition("## 8.")[2].partition("\n## ")[0]
    guards = set(re.findall(r"^\| ([a-z ]+) \|", rules, flags=re.MULTILINE))
    table = OPERATIONS.partition("| guard | seen as |")[2].partition("\n\n")[0]
    shown = dict(re.findall(r"^\| ([a-z ]+) \| (.+) \|$", table, flags=re.MULTILINE))
    assert set(shown) == guards - {"guard"}
    sources = "".join(path.read_text() for path in ROOT.glob("[jr]*/**/*.py"))
    for guard, seen in shown.items():
        named = re.findall(r"`([^`]+)`", seen)
        figures = [re.split(r"[{ ]", one)[0] for one in named if one.startswith("relay_")]
        lines = [one for one in named if not one.startswith(("relay_", "{"))]
        assert figures, guard
        assert set(figures) <= set(exposed), guard
        assert [line for line in lines if line not in sources] == [], guard


async def test_the_documents_tell_of_every_figure_and_of_no_other(exposed: Names) -> None:
    table = OPERATIONS.partition("## What to watch")[2].partition("\n## ")[0]
    told = {
        name
        for line in table.splitlines()
        if line.startswith("|")
        for name in re.findall(r"`(relay_[a-z_]+)", line.split("|")[1])
    }
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exposed}
    assert told == families
