"""The OpenAPI 3.1 document, made from the same operations and types that serve the requests."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from jobs.events import (
    Ended,
    FileDelta,
    Heartbeat,
    Idle,
    Notice,
    Reset,
    Status,
    Token,
)
from jobs.generation import FileChange, SkillChoice
from relay.problems import MEANINGS, MEDIA_TYPE, Problem
from relay.routes.operation import EVENT_STREAM, Answer, Operation, Parameter

_REF = "#/components/schemas/{name}"

EVENTS: Mapping[str, type[msgspec.Struct]] = {
    "status": Status,
    "token": Token,
    "file_delta": FileDelta,
    "file": FileChange,
    "skill": SkillChoice,
    "notice": Notice,
    "reset": Reset,
    "completed": Ended,
    "failed": Ended,
    "cancelled": Ended,
    "expired": Ended,
    "heartbeat": Heartbeat,
    "idle": Idle,
}
"""The data of each event of a generation's stream (protocol §5)."""

_DESCRIPTION = """\
AI generations that outlive the request. A generation is stored first, then run in the background;
its events are replayed and followed over SSE, from any cursor, on any replica.

Errors are problem details (RFC 9457) with a `code` of a closed list."""


def openapi_document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document for these operations; it is the same for every prefix and every request."""
    types = [Problem, *dict.fromkeys(EVENTS.values()), *_types(operations)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(map(str, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _operation(operation, schema_of)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Persona Relay",
            "version": version("persona-relay"),
            "description": _DESCRIPTION,
        },
        # Relative to this document, so right under any mount.
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "prt_…"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
        "x-events": {name: schema_of[str(kind)] for name, kind in EVENTS.items()},
        "x-problem-codes": {code.value: meaning for code, meaning in MEANINGS.items()},
    }


def _types(operations: Iterable[Operation]) -> list[Any]:
    found: dict[str, Any] = {}
    for operation in operations:
        kinds = [operation.body, *(parameter.kind for parameter in operation.parameters)]
        kinds += [answer.kind for answers in operation.answers.values() for answer in answers]
        found |= {str(kind): kind for kind in kinds if kind is not None}
    return list(found.values())


def _operation(operation: Operation, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "tags": [_tag(operation.path)],
        "security": _security(operation),
        "responses": _responses(operation, schema_of),
    }
    parameters = [_path_parameter(name) for name in re.findall(r"{(\w+)}", operation.path)]
    parameters += [_parameter(one, schema_of) for one in operation.parameters]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        content = {"application/json": {"schema": schema_of[str(operation.body)]}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _responses(operation: Operation, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answers in sorted(operation.answers.items()):
        responses[str(status)] = _answers(answers, schema_of)
    for status in sorted(_refusals(operation)):
        content = {MEDIA_TYPE: {"schema": schema_of[str(Problem)]}}
        answer: dict[str, Any] = {"description": HTTPStatus(status).phrase, "content": content}
        if status in (429, 503):
            answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
        responses.setdefault(str(status), answer)
    return responses


def _answers(answers: Sequence[Answer], schema_of: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": "; or ".join(one.description for one in answers)}
    content = {
        one.media_type: {"schema": schema_of[str(one.kind)]}
        for one in answers
        if one.kind is not None
    }
    if content:
        described["content"] = content
    headers = {name: {"schema": {"type": "string"}} for one in answers for name in one.headers}
    if headers:
        described["headers"] = headers
    if EVENT_STREAM in content:
        described["description"] += " (server-sent events, see `x-events`)"
    return described


def _refusals(operation: Operation) -> set[int]:
    found = {*operation.refusals, 500}
    if operation.admits != "anyone":
        found |= {401, 403, 503}
    if operation.body is not None:
        found |= {400, 413, 415, 422}
    return found


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if operation.admits == "anyone":
        return []
    if operation.admits == "ticket":
        return [{"token": ["read"]}, {"ticket": []}]
    return [{"token": [operation.admits]}]


def _parameter(parameter: Parameter, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": schema_of[str(parameter.kind)],
    }


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _operation_id(operation: Operation) -> str:
    words = re.findall(r"[a-z]+", operation.path.removeprefix("/v1").lower())
    return "_".join([operation.method.lower(), *words])


def _tag(path: str) -> str:
    parts = path.strip("/").split("/")
    return parts[1] if parts[0] == "v1" else "server"
