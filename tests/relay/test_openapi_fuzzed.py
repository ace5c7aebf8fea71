"""Schemathesis finds no 5xx, no undocumented answer, and nothing that the document has wrong."""

import asyncio
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from schemathesis.engine import Status, events, from_schema
from schemathesis.openapi.checks import RejectedPositiveData

from relay.app import OPERATIONS, PROTOCOLS
from relay.settings import read_relay_settings
from tests.relay.edge import open_edge
from tests.services import Child
from tests.services.waiting import until

PROGRAM = Path(sys.executable).with_name("persona-relay")
PATHS = ("persona.md", "a/b.md")
NATIVE = "^/(v1/|healthz|readyz|metrics)"
OTHERS = "^/(openai|ai|ag-ui)"
OF_OTHERS = frozenset(one.path.replace(":path", "") for one in PROTOCOLS)
"""The paths of the other protocols."""
EXAMPLES = 3
"""Generated requests an operation, beside those at every boundary that its schemas have."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the relay holds: a bearer token, and by kind the ids of what it reaches."""

    authorization: str
    ids: dict[str, list[str]]


@dataclass(slots=True)
class Found:
    """What a run asked, by operation and status, and what it found wrong."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: dict[str, str] = field(default_factory=dict)

    def statuses(self, label: str) -> set[int]:
        """What this operation answered."""
        return {status for one, status in self.answers if one == label}


def examine(url: str, stored: Stored, left_out: str) -> Found:
    """Asks the relay at this address whatever its own document allows, and what it forbids."""
    config = schemathesis.Config.from_dict(
        {
            "seed": 1,
            "headers": {"Authorization": stored.authorization},
            "request-timeout": 10,
            "max-stream-events": 4,
            "continue-on-failure": True,
            "dictionaries": {
                "paths": {"values": list(PATHS)},
                **{name: {"values": ids} for name, ids in stored.ids.items()},
            },
            "parameters": {"path.path": {"dictionary": "paths", "probability": 0.8}},
            "operations": [
                {"include-path-regex": left_out, "enabled": False},
                *[
                    {
                        "include-path-regex": f"^(/openai)?/v1/{name}/",
                        "parameters": {"path.id": {"dictionary": name, "probability": 0.8}},
                    }
                    for name in stored.ids
                ],
            ],
            "generation": {
                "max-examples": EXAMPLES,
                "deterministic": True,
                "no-shrink": True,
                # U+0000 and blank text are refused by rules of the text as a whole.
                "allow-x00": False,
                # Parameters that are not known are ignored (relay/queries.py).
                "allow-extra-parameters": False,
            },
            "phases": {"stateful": {"enabled": False}},
        }
    )
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)

    @schema.hook
    def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
        # Their rules go beyond types: the last message of a user must have text, for instance.
        ruled = isinstance(failure, RejectedPositiveData) and case.path in OF_OTHERS
        return not (ruled or depends_on_what_is_stored(response.content))

    found = Found()
    for event in from_schema(schema).execute():
        for problem in problems(event, found):
            found.wrong.setdefault(*problem)
    return found


def problems(event: Any, found: Found) -> Iterator[tuple[str, str]]:
    """What this event tells of; its answers are counted."""
    if isinstance(event, events.NonFatalError):
        yield f"{event.label}: {event.info.title}", str(event.value)
    elif isinstance(event, events.FatalError):
        yield "the run itself", str(event.exception)
    elif isinstance(event, events.ScenarioFinished):
        recorder = event.recorder
        for id, interaction in recorder.interactions.items():
            label = recorder.cases[id].value.operation.label
            if interaction.response is None:
                yield f"{label}: no answer", ""
            elif recorder.cases[id].value.method == label.partition(" ")[0]:
                found.answers[label, interaction.response.status_code] += 1
        for id, checks in recorder.checks.items():
            for check in checks:
                if check.status is Status.FAILURE and check.failure_info is not None:
                    label = recorder.cases[id].value.operation.label
                    failure = check.failure_info
                    said = f"{failure.failure.message}\n{failure.code_sample}"
                    yield f"{label}: {check.name}, {failure.failure.title}", said


def depends_on_what_is_stored(content: bytes) -> bool:
    """Whether it refuses what no document can forbid: a used key, the cursor of no page, …"""
    try:
        problem = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return False
    if not isinstance(problem, dict):
        return False
    fields = ("cursor", "conversation_id")
    return problem.get("code") == "idempotency_key_reused" or problem.get("field") in fields


@pytest.fixture
def environment(migrated_url: str, redis_url: str) -> dict[str, str]:
    """What the relay is run with: its limits and times are not what is examined here."""
    kept = {n: text for n, text in os.environ.items() if not n.startswith(("RELAY_", "OPENAI_"))}
    return kept | {
        "RELAY_SECRET": "a secret of the tests",
        "RELAY_MODEL": "default-model",
        "RELAY_MODELS": "*",
        "RELAY_DATABASE_URL": migrated_url,
        "RELAY_REDIS_URL": redis_url,
        "RELAY_OWNER_GENERATIONS_PER_MINUTE": "0",
        "RELAY_TOTAL_GENERATIONS_PER_MINUTE": "0",
        "RELAY_IDLE_TIMEOUT_SECONDS": "0.3",
        "RELAY_HEARTBEAT_SECONDS": "0.1",
        # The worker that is there stays alive in its row, for /readyz.
        "RELAY_LEASE_SECONDS": "600",
    }


@pytest.fixture
def served(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """A relay as a process, and its address; nothing of it draws from this process's chance."""
    argv = [str(PROGRAM), "serve", "--port", "0"]
    with Child(argv, output=tmp_path / "out", env=environment, cwd=tmp_path) as child:
        until(lambda: "relay is ready" in child.text() or child.exit_code is not None, within=30)
        found = re.search(r"url=(http://127\.0\.0\.1:\d+)", child.text())
        assert found, child.text()
        yield found[1]
        assert "Traceback" not in child.text(), child.text()


@pytest.fixture
def stored(environment: dict[str, str]) -> Stored:
    """One of everything in the database, ended and waiting, and a token that reaches it."""

    async def furnish() -> Stored:
        async with open_edge(read_relay_settings(environment)) as relay:
            bearer = await relay.bearer("admin")
            relay.client.headers.update(bearer)
            # Some more personas, for one of them is deleted now and then.
            made = [await relay.persona() for _ in range(4)]
            ended, waiting = await relay.chat(), await relay.chat()
            for one in made:
                await relay.complete(one["id"], "made", written=dict.fromkeys(PATHS, "# Ada"))
            await relay.complete(ended["id"], "hello")
            everything = [*made, ended, waiting]
            return Stored(
                bearer["Authorization"],
                {
                    "generations": [one["id"] for one in everything],
                    "conversations": [one["conversation_id"] for one in everything],
                    "personas": [one["persona_id"] for one in made],
                },
            )

    return asyncio.run(furnish())


@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_answer_is_one_that_the_document_describes(stored: Stored, served: str) -> None:
    found = examine(served, stored, OTHERS)
    assert not found.wrong, "\n\n".join(f"{what}\n{said}" for what, said in found.wrong.items())
    for operation in OPERATIONS:
        statuses = found.statuses(f"{operation.method} {operation.path}")
        # It was reached, not only refused.
        assert statuses & set(operation.answers), (operation.path, statuses)
        assert operation.admits == "anyone" or 401 in statuses
    for label, status in (
        ("POST /v1/generations", 415),
        ("GET /v1/generations", 422),
        ("GET /v1/personas/{id}/files/{path}", 404),
    ):
        assert status in found.statuses(label)


@pytest.fixture
def working(environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """A worker and the scripted model, which end what is begun: some calls wait for that."""
    program, there = [str(PROGRAM), "demo-model", "--port", "0"], tmp_path / "model"
    with Child(program, output=there, env=environment, cwd=tmp_path) as model:
        until(lambda: model.text().endswith("\n"), within=30)
        address = re.search(r"http://127\.0\.0\.1:\d+/v1", model.text())
        assert address, model.text()
        environment |= {"OPENAI_BASE_URL": address[0], "OPENAI_API_KEY": "k"}
        environment["RELAY_MODEL"] = "demo-fast"
        worker = [sys.executable, "-m", "jobs"]
        with Child(worker, output=tmp_path / "worker", env=environment, cwd=tmp_path) as child:
            until(lambda: "worker is ready" in child.text(), within=30)
            yield


@pytest.fixture
def begun(working: None, environment: dict[str, str]) -> Stored:
    """Responses of the OpenAI protocol, some more than are deleted."""

    async def furnish() -> Stored:
        async with open_edge(read_relay_settings(environment)) as relay:
            bearer = await relay.bearer("admin")
            relay.client.headers.update(bearer)
            asked = {"input": "hi", "background": True}
            made = [await relay.post("/openai/v1/responses", asked) for _ in range(6)]
            names = {"responses": [one.json()["id"] for one in made], "models": ["demo-fast"]}
            return Stored(bearer["Authorization"], names)

    return asyncio.run(furnish())


@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_other_protocols_answer_as_the_document_describes(begun: Stored, served: str) -> None:
    found = examine(served, begun, NATIVE)
    assert not found.wrong, "\n\n".join(f"{what}\n{said}" for what, said in found.wrong.items())
    for operation in PROTOCOLS:
        path = operation.path.replace(":path", "")
        statuses = found.statuses(f"{operation.method} {path}")
        # What is well asked is for tests/clients: chance writes no user's words, and finds no id.
        assert 401 in statuses, path
        assert statuses & {200, 204, 400, 404, 422}, path
    assert 422 in found.statuses("POST /ag-ui")
    assert 400 in found.statuses("POST /openai/v1/responses")
