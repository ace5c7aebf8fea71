"""The relay as an ASGI app: every route, and what is open while it serves them.

`create_app()` can be served as it is, or mounted below a prefix of another Starlette or FastAPI
app. A host does not run the lifespan of what it mounts, so it enters it in its own:

    relay = create_app()

    @asynccontextmanager
    async def lifespan(app):
        async with relay.router.lifespan_context(relay):
            yield

    app = Starlette(routes=[Mount("/relay", relay)], lifespan=lifespan)
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from jobs.kinds import Kinds
from jobs.kinds_setting import load_kinds
from jobs.settings import InvalidSetting
from relay import direct_write
from relay.auth import Authenticate
from relay.edge import Edge
from relay.hosts import KnownHosts
from relay.openapi import openapi_document
from relay.problems import Shape, exception_handlers
from relay.protocols.ag_ui.routes import OPERATIONS as AG_UI
from relay.protocols.ai_sdk.routes import OPERATIONS as AI_SDK
from relay.protocols.ai_sdk.routes import plain_refusal
from relay.protocols.openai_responses.errors import openai_error
from relay.protocols.openai_responses.models import OPERATIONS as MODELS
from relay.protocols.openai_responses.routes import OPERATIONS as OPENAI
from relay.revocation import watch_revocations
from relay.routes import conversations, feed, files, generations, health, metrics, ops, personas
from relay.routes.operation import routes
from relay.routes.pages import page_routes
from relay.services import Services, open_services
from relay.settings import RelaySettings, read_relay_settings
from relay.traced import Traced

OPERATIONS = (
    *generations.OPERATIONS,
    *personas.OPERATIONS,
    *files.OPERATIONS,
    *conversations.OPERATIONS,
    *feed.OPERATIONS,
    *health.OPERATIONS,
    *metrics.OPERATIONS,
    *ops.OPERATIONS,
)
"""Every call of the native API."""

PROTOCOLS = (*OPENAI, *MODELS, *AI_SDK, *AG_UI)
"""Every call of another protocol."""

SDK_HEADERS = (
    "OpenAI-Organization",
    "OpenAI-Project",
    "X-Stainless-Arch",
    "X-Stainless-Helper-Method",
    "X-Stainless-Lang",
    "X-Stainless-OS",
    "X-Stainless-Package-Version",
    "X-Stainless-Retry-Count",
    "X-Stainless-Runtime",
    "X-Stainless-Runtime-Version",
    "X-Stainless-Timeout",
)
"""What the openai SDK sends of its own accord, from a page of an allowed origin too."""

GIVE_UP_SECONDS = 1.0
"""How long the database may take to end what runs beside the requests, once those are over."""

SHAPES: Mapping[str, Shape] = {"/ai/": plain_refusal, "/openai/": openai_error}
"""In which shape errors are answered below a prefix; elsewhere they are problems."""


def create_app(
    settings: RelaySettings | None = None,
    *,
    services: Services | None = None,
    authenticate: Authenticate | None = None,
    demo: bool = False,
) -> Starlette:
    """The relay; settings are read from the environment unless given.

    `services` that are open already are used and left open; else they are opened with the app's
    lifespan and closed with it. With `authenticate` the host decides who is asking, instead of
    tokens and RELAY_AUTH; tickets are signed as ever, with RELAY_SECRET. `demo` makes the page say
    that its model is scripted. Raises InvalidSetting.
    """
    if services is not None:
        settings = services.settings
    settings = settings or read_relay_settings()
    kinds = services.kinds if services is not None else load_kinds(settings.jobs.relay_kinds)
    if authenticate is not None and not settings.relay_secret:
        raise InvalidSetting("RELAY_SECRET", "signs the tickets of a host's users: set it")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if services is None:
                opened = await stack.enter_async_context(open_services(settings))
            else:
                opened = services
            app.state.services = opened
            await stack.enter_async_context(_revocations_watched(opened))
            if services is None:
                # What is left of its own accord would wait for a database that does not answer.
                stack.callback(opened.db.give_up_in, GIVE_UP_SECONDS)
            yield

    app = _Relay(
        routes=[
            *routes((*OPERATIONS, *PROTOCOLS)),
            Route("/openapi.json", _openapi(kinds)),
            *page_routes(settings.jobs.relay_model, demo=demo),
        ],
        middleware=_middleware(settings),
        exception_handlers=exception_handlers(),
        lifespan=lifespan,
    )
    app.state.services = services
    app.state.authenticate = authenticate
    return app


class _Relay(Starlette):
    """Shows its streams the way past its own layers, all of which pass a body on as it is."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._layers = len(self.user_middleware)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # What a host has put between may change bodies, and must see every chunk.
        if scope["type"] == "http" and len(self.user_middleware) == self._layers:
            way = direct_write.past(send)
            scope["state"] = {**scope.get("state", {}), direct_write.STATE: way}
        await super().__call__(scope, receive, send)


def _openapi(kinds: Kinds) -> Callable[[Request], Awaitable[Response]]:
    document = msgspec.json.encode(openapi_document((*OPERATIONS, *PROTOCOLS), kinds))

    async def answer(request: Request) -> Response:
        headers = {"Cache-Control": "no-cache"}
        return Response(document, media_type="application/json", headers=headers)

    return answer


@asynccontextmanager
async def _revocations_watched(services: Services) -> AsyncIterator[None]:
    watch = asyncio.create_task(watch_revocations(services), name="revocations")
    try:
        yield
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


def _middleware(settings: RelaySettings) -> list[Middleware]:
    middleware = [Middleware(Edge, shapes=SHAPES)]
    if settings.allowed_hosts:
        middleware.append(Middleware(KnownHosts, names=settings.allowed_hosts))
    middleware.append(Middleware(Traced))
    if settings.allowed_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=(
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-None-Match",
                "Last-Event-ID",
                "Traceparent",
                "Tracestate",
                # The AI SDK names itself in it; not all browsers leave that out.
                "User-Agent",
                "X-Request-Id",
                *SDK_HEADERS,
            ),
            expose_headers=(
                "ETag",
                "Idempotent-Replay",
                "Location",
                "Retry-After",
                "X-Request-Id",
            ),
            max_age=600,
        )
        # Outermost, so that a page may also read why it was refused.
        middleware.insert(0, cors)
    return middleware
