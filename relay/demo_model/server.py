"""The demo model's HTTP server: OpenAI-compatible, scripted, and open about what it was sent."""

import asyncio
import secrets
import signal
import socket
import sys
import time
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from . import tokens, wire
from .answers import answer
from .chat_request import BadRequest, ChatRequest, parse_chat_request
from .conversation import read_conversation
from .ledger import Ledger
from .page import page
from .playback import Plan, streamed, whole
from .response import Pacer, PlayedResponse
from .script import SCRIPTS, Fault, Script, UnknownScript, parse_script

MAX_BODY_BYTES = 16 * 1024 * 1024
GRACE_SECONDS = 1
"""After SIGTERM, for answers to end; they are cut off at once, so it is not used up."""

_CREATED = 1_700_000_000
_REFUSALS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("invalid_request_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


def create_demo_model() -> Starlette:
    """A server of its own memory; mountable and servable by any ASGI server."""
    model = DemoModel()
    app = Starlette(
        routes=[
            Route("/", model.show_page),
            Route("/healthz", model.health),
            Route("/stats", model.stats),
            Route("/requests", model.requests),
            Route("/v1/models", model.list_models),
            Route("/v1/models/{name}", model.show_model),
            Route("/v1/chat/completions", model.complete, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_error},
    )
    app.state.demo_model = model
    return app


class DemoModel:
    """The handlers of one server, and what they remember."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Cuts off every open answer, unfinished."""
        self._closing.set()

    async def show_page(self, request: Request) -> Response:
        """The page for people."""
        return HTMLResponse(page())

    async def health(self, request: Request) -> Response:
        """The process is alive."""
        return _json({"status": "ok", "scripted": True})

    async def stats(self, request: Request) -> Response:
        """Open answers, requests, clients that left."""
        return _json(self._ledger.stats())

    async def requests(self, request: Request) -> Response:
        """The newest requests, oldest first."""
        return _json({"data": self._ledger.newest()})

    async def list_models(self, request: Request) -> Response:
        """An example of every part of the grammar; every name that parses works."""
        names = dict.fromkeys(["demo", *(part.example for part in SCRIPTS)])
        return _json({"object": "list", "data": [_model(name) for name in names]})

    async def show_model(self, request: Request) -> Response:
        """One model, if its name is a script."""
        name = request.path_params["name"]
        try:
            parse_script(name)
        except UnknownScript as error:
            return _unknown_model(error)
        return _json(_model(name))

    async def complete(self, request: Request) -> Response:
        """One answer, streamed or whole, or the refusal that the script asks for."""
        id = f"chatcmpl-demo-{secrets.token_hex(12)}"
        body = await _body(request)
        try:
            asked = parse_chat_request(body)
            self._ledger.note(id, body)
            script = parse_script(asked.model)
        except BadRequest as error:
            return _refusal(400, error.message, param=error.param)
        except UnknownScript as error:
            return _unknown_model(error)
        return self._answer(id, body, asked, script)

    def _answer(self, id: str, body: bytes, asked: ChatRequest, script: Script) -> Response:
        conversation = read_conversation(asked)
        fault = script.fault if script.round in (0, conversation.round) else None
        if fault is not None and script.flaky and not self._ledger.fails_still(body, script.flaky):
            fault = None
        if fault is Fault.STATUS:
            return _refusal(script.status, f"The script {asked.model!r} refuses this request.")
        if fault is Fault.HTML:
            return HTMLResponse("<!doctype html><title>Demo</title><p>Not what was asked for.</p>")
        plan = Plan(
            answer=answer(script, conversation),
            fault=fault,
            after=script.after,
            limit=asked.token_limit,
            prompt_tokens=sum(tokens.count(message.text) for message in asked.messages),
            include_usage=asked.include_usage,
        )
        frames = wire.Frames(
            id,
            int(time.time()),
            asked.model,
            include_usage=asked.include_usage,
            crlf=script.crlf,
        )
        stream = bool(asked.stream)
        return PlayedResponse(
            streamed(plan, frames) if stream else whole(plan, id, int(time.time()), asked.model),
            pacer=Pacer(script.pace, script.delay_ms, conversation.seed),
            ledger=self._ledger,
            closing=self._closing,
            comment=frames.comment(),
            chunk_bytes=script.chunk_bytes,
            headers={"x-request-id": id, "cache-control": "no-cache", "x-demo-model": "scripted"},
            media_type="text/event-stream" if stream else "application/json",
        )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, "The body of your request is too large.")
    return bytes(body)


def _json(document: object, status: int = 200) -> Response:
    return Response(wire.encode(document), status, media_type="application/json")


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "scripted-demo"}


def _unknown_model(error: UnknownScript) -> Response:
    return _refusal(404, f"The model {error.name!r} does not exist: {error.reason}.", param="model")


def _refusal(status: int, message: str, *, param: str | None = None) -> Response:
    type, code = _REFUSALS.get(
        status, ("server_error" if status >= 500 else "invalid_request_error", None)
    )
    headers = {"retry-after": "1"} if status == 429 else None
    content = wire.error_body(message, type, code, param)
    return Response(content, status, headers, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    content = wire.error_body(error.detail, "invalid_request_error", None)
    return Response(content, error.status_code, error.headers, media_type="application/json")


class _Server(uvicorn.Server):
    """Cuts off open answers when told to end: a silent one would hold it up."""

    def __init__(self, config: uvicorn.Config, model: DemoModel) -> None:
        super().__init__(config)
        self._model = model

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._model.close()
        await super().shutdown(sockets)


def serve(host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT, then returns; OSError when the address can't be had.

    Prints one line once it listens; port 0 takes a free one, which the line names.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    app = create_demo_model()
    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(
        f"scripted demo model, no LLM: http://{shown}:{listener.getsockname()[1]}/v1\n"
    )
    sys.stdout.flush()
    # uvicorn raises the signal anew when it has ended: an orderly end is no death by signal.
    before = {number: signal.signal(number, _ended) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _Server(config, app.state.demo_model).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(number: int, frame: FrameType | None) -> None:
    """A signal that has been acted on already."""
