"""The OpenAPI 3.1 document, made from the same operations and types that serve the requests."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from jobs.generation import KIND_NAME, Kind
from jobs.kinds import NO_OTHERS, Kinds
from relay.bodies import PLACES, CreateGeneration
from relay.problems import MEANINGS, Problem
from relay.queries import Id
from relay.routes.operation import BODY_REFUSALS, Answer, Operation, Parameter
from relay.routes.streams import GENERATION_STREAM, Stream

_REF = "#/components/schemas/{name}"
_EVENT_ID = {"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"}

_DESCRIPTION = """\
AI generations that outlive the request. A generation is stored first, then run in the background;
its events are replayed and followed over SSE, from any cursor, on any replica.

Errors are problem details (RFC 9457) with a `code` of a closed list."""


def openapi_document(operations: Sequence[Operation], kinds: Kinds = NO_OTHERS) -> dict[str, Any]:
    """The document for these operations; it is the same for every prefix and every request.

    `kinds` are those that can be asked for.
    """
    streams = _streams(operations)
    types = _types(operations, streams)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(map(str, types), schemas, strict=True))
    components |= {stream.name: _event_schema(stream, schema_of) for stream in streams}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _operation(operation, schema_of, kinds)
        paths.setdefault(_path(operation), {})[operation.method.lower()] = described
    if created := components.get(CreateGeneration.__name__):
        components[CreateGeneration.__name__] = _by_kind(created, kinds)
    if Kind.__name__ in components:
        components[Kind.__name__] = _any_kind(kinds)
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
        "x-events": {name: schema_of[str(kind)] for name, kind in GENERATION_STREAM.events.items()},
        "x-problem-codes": {code.value: meaning for code, meaning in MEANINGS.items()},
    }


def _streams(operations: Iterable[Operation]) -> list[Stream]:
    kinds = (
        answer.kind
        for operation in operations
        for answers in operation.answers.values()
        for answer in answers
    )
    found = {kind.name: kind for kind in kinds if isinstance(kind, Stream)}
    return list(found.values())


def _types(operations: Iterable[Operation], streams: Iterable[Stream]) -> list[Any]:
    found: dict[str, Any] = {str(Problem): Problem, str(Id): Id}
    for stream in streams:
        found |= {str(kind): kind for kind in stream.events.values()}
    for operation in operations:
        kinds = [operation.body, *(parameter.kind for parameter in operation.parameters)]
        kinds += [answer.kind for answers in operation.answers.values() for answer in answers]
        kinds.append(operation.refused.kind)
        found |= {
            str(kind): kind for kind in kinds if kind is not None and not isinstance(kind, Stream)
        }
    return list(found.values())


def _event_schema(stream: Stream, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    """One event of the stream as its fields: OpenAPI 3.1 has no schema for a stream as a whole."""
    return {
        "title": stream.name,
        "description": "One event of the stream.",
        "oneOf": [
            {
                "type": "object",
                "title": name,
                "properties": {
                    "event": {"const": name},
                    "data": {
                        "type": "string",
                        "contentMediaType": "application/json",
                        "contentSchema": schema_of[str(kind)],
                    },
                    **({"id": _EVENT_ID} if name in stream.numbered else {}),
                },
                "required": ["event", "data", *(["id"] if name in stream.numbered else [])],
            }
            for name, kind in stream.events.items()
        ],
    }


def _any_kind(kinds: Kinds) -> dict[str, Any]:
    """What a resource says: it may be of a kind that was known here once."""
    return {
        "title": Kind.__name__,
        "description": f"Here one of {', '.join(kinds.names)}.",
        "type": "string",
        "pattern": f"^{KIND_NAME.pattern}$",
    }


def _by_kind(created: Mapping[str, Any], known: Kinds) -> dict[str, Any]:
    """The body of a new generation, one schema a kind: which fields it has depends on that."""
    of_place = {field for fields in PLACES.values() for field in fields}
    kinds = []
    for kind in known.names:
        places = PLACES.get(Kind(kind), PLACES[Kind.CHAT])
        fields = {
            name: schema
            for name, schema in created["properties"].items()
            if name not in of_place or name in places
        }
        required = list(created["required"])
        if kind == Kind.REFINE:
            fields["persona_id"] = {"type": "string"}
            required.append("persona_id")
        one = {**created, "title": f"{created['title']} ({kind})", "required": required}
        kinds.append({**one, "properties": {**fields, "kind": {"const": kind}}})
    return {"title": created["title"], "description": created["description"], "oneOf": kinds}


def _operation(operation: Operation, schema_of: Mapping[str, Any], kinds: Kinds) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "tags": [_tag(_path(operation))],
        "security": _security(operation),
        "responses": _responses(operation, schema_of),
    }
    parameters = [
        _path_parameter(operation, name, schema_of)
        for name in re.findall(r"{(\w+)}", _path(operation))
    ]
    parameters += [_parameter(one, schema_of, kinds) for one in operation.parameters]
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
    refused = operation.refused
    for native in sorted(_refusals(operation)):
        status = refused.statuses.get(native, native)
        content = {refused.media_type: {"schema": schema_of[str(refused.kind)]}}
        answer: dict[str, Any] = {"description": HTTPStatus(status).phrase, "content": content}
        if status in (429, 503):
            answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
        responses.setdefault(str(status), answer)
    return responses


def _answers(answers: Sequence[Answer], schema_of: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": "; or ".join(one.description for one in answers)}
    content = {
        one.media_type: {"schema": _content_schema(one.kind, schema_of)}
        for one in answers
        if one.kind is not None
    }
    if content:
        described["content"] = content
    headers = {name: {"schema": {"type": "string"}} for one in answers for name in one.headers}
    if headers:
        described["headers"] = headers
    if any(isinstance(one.kind, Stream) for one in answers):
        described["description"] += " (server-sent events, see `x-events`)"
    return described


def _content_schema(kind: Any, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(kind, Stream):
        return {"$ref": _REF.format(name=kind.name)}
    schema: dict[str, Any] = schema_of[str(kind)]
    return schema


def _refusals(operation: Operation) -> set[int]:
    found = {*operation.refusals, 500}
    if operation.admits != "anyone":
        found |= {401, 403, 503}
    if operation.body is not None:
        found |= {*BODY_REFUSALS}
    return found


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if operation.admits == "anyone":
        return []
    if operation.admits == "ticket":
        return [{"token": ["read"]}, {"ticket": []}]
    return [{"token": [operation.admits]}]


def _parameter(parameter: Parameter, schema_of: Mapping[str, Any], kinds: Kinds) -> dict[str, Any]:
    schema = schema_of[str(parameter.kind)]
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": {"enum": list(kinds.names)} if parameter.kind is Kind else schema,
    }


def _path(operation: Operation) -> str:
    return operation.path.replace(":path}", "}")


def _path_parameter(
    operation: Operation, name: str, schema_of: Mapping[str, Any]
) -> dict[str, Any]:
    ours = name == "id" and operation.path.startswith("/v1/")
    schema = schema_of[str(Id)] if ours else {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _operation_id(operation: Operation) -> str:
    words = re.findall(r"[a-z]+", _path(operation).removeprefix("/v1").lower())
    return "_".join([operation.method.lower(), *words])


def _tag(path: str) -> str:
    parts = path.strip("/").split("/")
    if parts[0] == "v1":
        return parts[1]
    return parts[0] if parts[0] in ("ag-ui", "ai", "openai") else "server"
