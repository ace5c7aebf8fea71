"""The OpenAPI document describes exactly what is served, and refers to nothing that is missing."""

import json
import re
from typing import Any, get_args

from jobs.events import Event
from relay.app import OPERATIONS
from relay.openapi import EVENTS, openapi_document
from relay.problems import Code
from tests.relay.edge import EdgeRelay

DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi_document(OPERATIONS)))


def answers() -> list[tuple[str, str, dict[str, Any]]]:
    """Every operation of the document with its path and method."""
    return [
        (path, method, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


async def test_the_document_is_served(relay: EdgeRelay) -> None:
    answer = await relay.client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == DOCUMENT
    assert answer.json()["openapi"] == "3.1.0"


async def test_every_path_of_the_document_is_routed_with_its_methods(relay: EdgeRelay) -> None:
    for path, methods in DOCUMENT["paths"].items():
        answer = await relay.client.options(re.sub(r"{\w+}", "x", path))
        allowed = set(answer.headers["allow"].split(", ")) - {"HEAD"}
        assert allowed == {method.upper() for method in methods}


def test_the_calls_of_the_protocol_are_described() -> None:
    assert {(method.upper(), path) for path, method, _ in answers()} == {
        ("POST", "/v1/generations"),
        ("GET", "/v1/generations"),
        ("GET", "/v1/generations/{id}"),
        ("GET", "/v1/generations/{id}/events"),
        ("POST", "/v1/generations/{id}/cancel"),
        ("POST", "/v1/generations/{id}/ticket"),
        ("GET", "/v1/conversations/{id}"),
        ("POST", "/v1/personas"),
        ("GET", "/v1/personas"),
        ("GET", "/v1/personas/{id}"),
        ("DELETE", "/v1/personas/{id}"),
        ("POST", "/v1/personas/{id}/refine"),
        ("GET", "/v1/personas/{id}/versions"),
        ("GET", "/v1/personas/{id}/files/{path}"),
        ("GET", "/v1/personas/{id}/export"),
        ("GET", "/v1/feed"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    }


def test_every_reference_leads_somewhere() -> None:
    references = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)))
    assert references <= set(DOCUMENT["components"]["schemas"])
    assert {"Generation", "CreateGeneration", "Problem"} <= references


def test_every_operation_has_an_id_of_its_own_and_describes_its_refusals() -> None:
    ids = [operation["operationId"] for _, _, operation in answers()]
    assert len(set(ids)) == len(ids)
    for _, _, operation in answers():
        described = operation["responses"]
        assert any(status.startswith("2") for status in described)
        if operation["security"]:
            assert {"401", "403", "503"} <= set(described)
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= set(described)
        for status, answer in described.items():
            if status >= "400" and operation["security"]:
                assert list(answer["content"]) == ["application/problem+json"]


def test_every_part_of_a_path_is_a_parameter() -> None:
    for path, _, operation in answers():
        named = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))


def test_every_event_and_code_is_described() -> None:
    assert set(EVENTS) == {*get_args(Event), "heartbeat", "idle"}
    assert set(DOCUMENT["x-problem-codes"]) == set(Code)


def test_bodies_refuse_unknown_fields_in_the_document_too() -> None:
    for name in ("CreateGeneration", "CreatePersona", "RefinePersona"):
        assert DOCUMENT["components"]["schemas"][name]["additionalProperties"] is False
