"""The OpenAPI document describes exactly what is served, and refers to nothing that is missing."""

import json
import re
from typing import Any, get_args

from jobs.events import Event
from relay.app import OPERATIONS, PROTOCOLS
from relay.openapi import openapi_document
from relay.problems import Code
from relay.routes.streams import GENERATION_STREAM
from tests.relay.edge import EdgeRelay

DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi_document((*OPERATIONS, *PROTOCOLS))))


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
        ("GET", "/v1/ops/feed"),
        ("POST", "/openai/v1/responses"),
        ("GET", "/openai/v1/responses/{id}"),
        ("DELETE", "/openai/v1/responses/{id}"),
        ("POST", "/openai/v1/responses/{id}/cancel"),
        ("GET", "/openai/v1/responses/{id}/input_items"),
        ("GET", "/openai/v1/models"),
        ("GET", "/openai/v1/models/{id}"),
        ("POST", "/ai/chat"),
        ("GET", "/ai/chat/{id}/stream"),
        ("POST", "/ai/chat/{id}/stop"),
        ("POST", "/ag-ui"),
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
        openai = operation["tags"] == ["openai"]
        if "requestBody" in operation:
            assert {"400", "413", "415"} <= set(described)
            assert ("422" in described) is not openai
        written = {"openai": "application/json", "ai": "text/plain"}
        media_type = written.get(operation["tags"][0], "application/problem+json")
        for status, answer in described.items():
            if status >= "400" and operation["security"]:
                assert list(answer["content"]) == [media_type]


def test_every_part_of_a_path_is_a_parameter() -> None:
    for path, _, operation in answers():
        named = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))


def test_every_event_and_code_is_described() -> None:
    assert set(GENERATION_STREAM.events) == {*get_args(Event), "heartbeat", "idle"}
    assert set(DOCUMENT["x-problem-codes"]) == set(Code)


def test_bodies_refuse_unknown_fields_in_the_document_too() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    bodies = [schemas["CreatePersona"], schemas["RefinePersona"]]
    bodies += schemas["CreateGeneration"]["oneOf"]
    for body in bodies:
        assert body["additionalProperties"] is False


def test_the_body_of_a_new_generation_has_the_fields_of_its_kind() -> None:
    bodies = DOCUMENT["components"]["schemas"]["CreateGeneration"]["oneOf"]
    common = {"kind", "input", "model", "on_active"}
    fields = {body["properties"]["kind"]["const"]: set(body["properties"]) for body in bodies}
    assert fields == {
        "chat": common | {"conversation_id"},
        "generate": common | {"name"},
        "refine": common | {"conversation_id", "persona_id"},
    }
    required = {body["properties"]["kind"]["const"]: set(body["required"]) for body in bodies}
    assert required["refine"] == {"kind", "input", "persona_id"}
    assert required["chat"] == required["generate"] == {"kind", "input"}


async def test_what_the_document_forbids_a_kind_is_refused(relay: EdgeRelay) -> None:
    given = {"conversation_id": "con_0", "persona_id": "per_0", "name": "Ada"}
    for body in DOCUMENT["components"]["schemas"]["CreateGeneration"]["oneOf"]:
        kind = body["properties"]["kind"]["const"]
        for field, value in given.items():
            if field in body["properties"]:
                continue
            needed = {"persona_id": "per_0"} if kind == "refine" else {}
            answer = await relay.post(
                "/v1/generations", {"kind": kind, "input": "x", field: value, **needed}
            )
            assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_a_body_that_a_call_does_not_take_is_refused_as_described(relay: EdgeRelay) -> None:
    chat = await relay.chat()
    for call in ("cancel", "ticket"):
        described = DOCUMENT["paths"][f"/v1/generations/{{id}}/{call}"]["post"]["responses"]
        for content, kind in ((b'{"x":1}', "application/json"), (b"x", "text/plain")):
            answer = await relay.client.post(
                f"/v1/generations/{chat['id']}/{call}",
                content=content,
                headers={"Content-Type": kind},
            )
            assert answer.status_code in (415, 422)
            assert str(answer.status_code) in described
