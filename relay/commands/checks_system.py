"""Checks of all but Redis: settings, database, workers, the model's endpoint, the journals."""

import asyncio
import json
import time
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from sqlalchemy import select

from jobs.database import now_ms, schema_is_current
from jobs.errors import Unavailable
from jobs.journal import verify
from jobs.kinds_setting import load_kinds
from jobs.settings import InvalidSetting, Settings, shown_address
from jobs.store.leftovers import find_untaken_kinds
from jobs.store.workers import worker_silences
from relay.commands.checks import Finding, clock, ok, problem, warning
from relay.commands.opening import DatabaseRefused, NoDatabase, open_database
from relay.settings import read_relay_settings

OPENAI_URL = "https://api.openai.com/v1"
ANSWER_SECONDS = 5.0
SECRET_BYTES = 32
UNTAKEN_SECONDS = 15.0
"""A worker with a free place takes what it knows long before."""
_MOST_BYTES = 4 * 1024 * 1024


def check_settings() -> Finding:
    """Whether a relay could start with this environment; a worker needs less."""
    try:
        settings = read_relay_settings()
    except InvalidSetting as error:
        return warning("settings", str(error), "set it where `persona-relay serve` runs")
    secret = settings.relay_secret
    if settings.relay_auth == "token" and secret and len(secret.encode()) < SECRET_BYTES:
        found = f"RELAY_SECRET is shorter than {SECRET_BYTES} bytes: tickets may be forged"
        return warning("settings", found, "set that of `openssl rand -hex 32` for all relays")
    return ok("settings", "a relay can start with them")


async def check_database(settings: Settings) -> list[Finding]:
    """Whether the database is there with this version's schema, and its clock right."""
    try:
        async with open_database(settings.relay_database_url) as database:
            current = await schema_is_current(database)
            # Connected by now: what that took would count as a difference of clocks.
            before = time.time()
            rows = await database.fetch(select(now_ms()))
            middle = (before + time.time()) / 2
            silences = await worker_silences(database) if current else ()
            untaken = await find_untaken_kinds(database, UNTAKEN_SECONDS) if current else {}
    except Unavailable as error:
        return [problem("database", str(error), "start it, or set RELAY_DATABASE_URL")]
    except NoDatabase as error:
        found = f"there is none at {error.path}"
        return [problem("database", found, "run `persona-relay migrate`")]
    except DatabaseRefused as error:
        return [problem("database", str(error), "see RELAY_DATABASE_URL")]
    report = [ok("database", f"{database.dialect} answers")]
    if current:
        report.append(ok("schema", "is this version's"))
        workers = _workers(silences, settings.relay_lease_seconds)
        report.append(workers)
        if workers.verdict != "problem":
            report += [_untaken(*one) for one in untaken.items()]
    else:
        report.append(problem("schema", "is not this version's", "run `persona-relay migrate`"))
    return [*report, clock("database clock", rows[0][0] / 1000 - middle)]


def _workers(silences: Iterable[float], lease_seconds: float) -> Finding:
    known = sorted(silences)
    dead = [one for one in known if one >= lease_seconds]
    alive = len(known) - len(dead)
    if not alive:
        return problem("worker", "none is alive: nothing runs", "run `persona-relay worker`")
    if dead:
        return warning(
            "worker",
            f"{alive} alive; {len(dead)} ended without a word, the last {dead[0]:.0f} s ago",
            "see why (SIGKILL, memory), and that another runs in its place",
        )
    return ok("worker", f"{alive} alive")


def _untaken(kind: str, count: int) -> Finding:
    found = f"{count} of the kind {kind!r} wait for a worker that knows it, or has a place"
    return warning("kinds", found, "set RELAY_KINDS where `persona-relay worker` runs")


def check_kinds(settings: Settings) -> Finding:
    """Whether RELAY_KINDS, as it is set here, can be loaded."""
    try:
        names = load_kinds(settings.relay_kinds).names
    except InvalidSetting as error:
        advice = "see that the module is installed, or on PYTHONPATH, for relays and workers"
        return problem("kinds", str(error), advice)
    return ok("kinds", ", ".join(names))


async def check_model(settings: Settings) -> list[Finding]:
    """Whether the model's endpoint answers, takes the key, and has the default model."""
    found = []
    if not settings.relay_model and not settings.relay_models:
        found.append(
            warning("model", "no request can name one", "set RELAY_MODEL, or RELAY_MODELS")
        )
    if settings.openai_base_url is None and settings.openai_api_key is None:
        advice = "set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint of your own"
        return [*found, problem("model endpoint", "none is configured", advice)]
    return [*found, await asyncio.to_thread(_ask_for_models, settings)]


def _ask_for_models(settings: Settings) -> Finding:
    check = "model endpoint"
    base = (settings.openai_base_url or OPENAI_URL).rstrip("/")
    shown = shown_address(base)
    try:
        address = urlsplit(base)
    except ValueError:
        address = urlsplit("")
    if address.scheme not in ("http", "https") or not address.hostname:
        return problem(check, "it has no http:// or https:// address", "see OPENAI_BASE_URL")
    # What logs in is no part of the host's name, as urllib takes it for.
    asked = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
    request = Request(f"{asked}/models", headers={"User-Agent": "persona-relay"})
    if settings.openai_api_key:
        request.add_header("Authorization", f"Bearer {settings.openai_api_key}")
    # A proxy of the environment can't reach this machine's own endpoint.
    local = address.hostname in ("127.0.0.1", "localhost", "::1")
    opener = build_opener(ProxyHandler({})) if local else build_opener()
    try:
        with opener.open(request, timeout=ANSWER_SECONDS) as answer:
            body = answer.read(_MOST_BYTES)
    except HTTPError as error:
        return _refusal(check, shown, error.code)
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return problem(check, f"{shown} is not reachable: {reason}", "see OPENAI_BASE_URL")
    names = _names(body)
    model = settings.relay_model
    if model and names is not None and model not in names:
        return warning(
            check, f"{shown} answers, but does not list {model}", "see that RELAY_MODEL is right"
        )
    return ok(check, f"{shown} answers")


def _refusal(check: str, shown: str, status: int) -> Finding:
    if status in (401, 403):
        return problem(
            check, f"{shown} is reachable, but refuses the key ({status})", "see OPENAI_API_KEY"
        )
    if status >= 500:
        return problem(
            check, f"{shown} is reachable, but answers {status}", "see what it says of itself"
        )
    return warning(
        check,
        f"{shown} is reachable, but has no list of models ({status})",
        "see that OPENAI_BASE_URL ends in the API's root, such as /v1",
    )


def _names(body: bytes) -> frozenset[str] | None:
    """The models that an answer lists, or None when it is no such list."""
    try:
        return frozenset(str(one["id"]) for one in json.loads(body)["data"])
    except (ValueError, KeyError, TypeError):
        return None


def check_journals(places: Iterable[Path]) -> list[Finding]:
    """Whether the journals of this machine are whole, and nothing in them waits."""
    reports = [verify(place) for place in places]
    found = [
        problem("journal", str(one.damage), "keep a copy, then look at it with a human's eyes")
        for one in reports
        if one.damage is not None
    ]
    pending = sum(one.stats["pending"] for one in reports)
    if pending:
        advice = "start a worker, or run `persona-relay journal replay`"
        found.append(warning("journal", f"{pending} records wait for their replay", advice))
    return found or [ok("journal", "is whole, and nothing waits in it")]
