"""One call of the API, declared once: the router, the authorization and OpenAPI all read this."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobs.generation import encode
from relay.auth import ANYONE, Access, authorize
from relay.problems import MEDIA_TYPE as PROBLEM_TYPE
from relay.problems import Problem
from relay.queries import DEFAULT_LIMIT, MAX_LIMIT, PageLimit
from relay.services import Services

EVENT_STREAM = "text/event-stream"
BODY_REFUSALS = (400, 413, 415, 422)
"""How a body can be refused, also by a call that takes none."""

Admits = Literal["anyone", "read", "generate", "admin", "ticket"]
"""Who may call: anyone; a token with this scope; or `ticket`, where the call itself looks at the
ticket or the token."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request, what it may reach, and what serves it."""

    request: Request
    access: Access
    services: Services


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or header of a call."""

    name: str
    description: str
    kind: Any = str
    place: Literal["query", "header"] = "query"


PAGING = (
    Parameter(
        "limit", f"How many items at most: 1 to {MAX_LIMIT}, else {DEFAULT_LIMIT}", PageLimit
    ),
    Parameter("cursor", "The `next_cursor` of the page before"),
)
"""What every call that answers a page takes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call answers with one status: JSON of this type, or other content."""

    description: str
    kind: Any = None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusals:
    """How a protocol writes a refusal: the type of its body, and the status where that differs."""

    kind: Any
    media_type: str
    statuses: Mapping[int, int] = field(default_factory=dict)


PROBLEMS = Refusals(Problem, PROBLEM_TYPE)
"""As the native API writes them."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path, what it takes and answers, and the function that does it.

    What it takes and answers is for OpenAPI.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Callable[[Call], Awaitable[Response]]
    summary: str
    admits: Admits
    answers: Mapping[int, tuple[Answer, ...]] = field(default_factory=dict)
    body: type[msgspec.Struct] | None = None
    parameters: tuple[Parameter, ...] = ()
    refusals: tuple[int, ...] = ()
    refused: Refusals = PROBLEMS

    async def serve(self, request: Request) -> Response:
        """The answer to this request, once it is authorized."""
        services: Services | None = request.app.state.services
        if services is None:
            raise RuntimeError("the host must enter the lifespan of the relay that it mounts")
        access = ANYONE
        if self.admits != "anyone" and self.admits != "ticket":
            access = await authorize(services, request, self.admits)
        return await self.handler(Call(request, access, services))


def routes(operations: Iterable[Operation]) -> list[Route]:
    """One route a path, so that `Allow` names every method that the path has."""
    by_path: defaultdict[str, dict[str, Operation]] = defaultdict(dict)
    for operation in operations:
        by_path[operation.path][operation.method] = operation
    return [_route(path, methods) for path, methods in by_path.items()]


def json_answer(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A resource as JSON."""
    return Response(encode(value), status, headers, media_type="application/json")


def _route(path: str, methods: Mapping[str, Operation]) -> Route:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await methods[method].serve(request)

    return Route(path.replace("{path}", "{path:path}"), endpoint, methods=list(methods))
