"""Two relays and three workers are one system: for readers, for an upgrade, and for its secrets."""

import asyncio
import random
import re
import signal
import time
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from tests.chaos.judging import judged, report
from tests.chaos.ledger import noted
from tests.chaos.load import Load
from tests.chaos.member import Member
from tests.chaos.records import Disturbance, Loss
from tests.chaos.system import PROGRAM
from tests.chaos.waves import assert_whole, wave, words
from tests.scale.fleet import MODEL_KEY, SIGNING_SECRET, Fleet
from tests.services import eventually

pytestmark = pytest.mark.timeout(180)

AT_ONCE = 5
WAVES = 4
"""On a busy machine one worker may stand still for as long as the others take of one wave."""


async def test_a_stream_begun_on_one_relay_resumes_on_the_other(fleet: Fleet) -> None:
    reader = await fleet.asked("demo-words-400-pace-50")
    path = f"/v1/generations/{reader.generation_id}/events"
    while len({one["relay"] for one in fleet.served(path)}) < 2:
        await reader.wrote(len(reader.text) + 1)
        assert reader.drop()
        # nginx notes a request once it is over.
        await reader.until(lambda one: len(one.troubles) == one.connections)
        await eventually(lambda: len(fleet.served(path)) == len(reader.troubles))
    assert len(reader.text) < len(words(400))
    await assert_whole(fleet, reader, words(400), within=30)
    assert reader.connections == len(reader.troubles) + 1


async def test_the_work_is_shared_by_all_workers(fleet: Fleet) -> None:
    holders: set[Member] = set()
    for _ in range(WAVES):
        readers = await wave(fleet, 12, "demo-words-40-pace-60")
        holders |= {await fleet.holder(reader.generation_id) for reader in readers}
        for reader in readers:
            await assert_whole(fleet, reader, words(40))
        if holders == set(fleet.workers):
            break
    assert holders == set(fleet.workers)


async def test_a_rolling_restart_of_everything_under_load_loses_nothing(fleet: Fleet) -> None:
    load = Load(fleet, random.Random(5), AT_ONCE)
    async with noted(fleet):
        steps = await upgraded(fleet, load)
        await load.over(within=40)
        broken = await judged(fleet, load.asked, steps, load.lines)
    if broken:
        raise AssertionError(report(5, broken, steps))
    assert load.counts["late"] == 0
    assert [step.fault for step in steps] == [what for what, _ in upgrade(fleet)]
    assert all(step.in_flight for step in steps)
    assert len(load.asked) > 2 * len(steps)


async def upgraded(fleet: Fleet, load: Load) -> list[Disturbance]:
    """Every step, under this load."""
    asking = asyncio.create_task(load.run())
    steps: list[Disturbance] = []
    try:
        for what, act in upgrade(fleet):
            # Each step hits generations in flight.
            await eventually(lambda: is_busy(fleet), within=20)
            running, began = len(await fleet.in_flight()), time.monotonic()
            stops = next((one.ids_now for one in fleet.workers if one.name == what), None)
            await act()
            loss: Loss | None = "stopped" if stops else None
            ended = time.monotonic()
            steps.append(
                Disturbance(
                    what, began, ended, running, what, stops, loss, deafens=what == "postgres"
                )
            )
        load.stopping = True
        await asking
    except BaseException:
        asking.cancel()
        await load.abandon()
        raise
    return steps


def upgrade(fleet: Fleet) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
    """The steps of docs/operations.md, and the services below them, one at a time."""
    postgres = fleet.postgres
    assert postgres is not None

    async def migrate() -> None:
        argv = [str(PROGRAM), "migrate"]
        process = await asyncio.create_subprocess_exec(*argv, env=fleet.environment)
        assert await process.wait() == 0

    async def reload_nginx() -> None:
        assert fleet.nginx is not None
        fleet.nginx.signal(signal.SIGHUP)
        await fleet.until_both_relays_are_taken()

    async def restart_redis() -> None:
        fleet.redis.stop()
        fleet.redis.restart(keep_data=True)

    async def restart_postgres() -> None:
        postgres.stop()
        postgres.start()

    def replaced(member: Member) -> Callable[[], Awaitable[None]]:
        async def replace() -> None:
            member.ask_to_stop()
            await member.stopped(within=30)
            await member.start()
            if member in fleet.relays:
                await fleet.until_both_relays_are_taken()

        return replace

    return [
        ("migrate", migrate),
        *((worker.name, replaced(worker)) for worker in fleet.workers),
        *((relay.name, replaced(relay)) for relay in fleet.relays),
        ("nginx", reload_nginx),
        ("redis", restart_redis),
        ("postgres", restart_postgres),
    ]


async def test_every_link_is_encrypted_and_wants_a_password(fleet: Fleet) -> None:
    rows = await fleet.rows(
        "SELECT ssl, count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
        " WHERE client_addr IS NOT NULL GROUP BY ssl"
    )
    assert [encrypted for encrypted, _ in rows] == [True]
    assert fleet.environment["RELAY_REDIS_URL"].startswith("rediss://:hush-redis@localhost:")
    wrong = {
        name: re.sub(r"hush-[a-z]+", "guessed", fleet.environment[name])
        for name in ("RELAY_REDIS_URL", "RELAY_DATABASE_URL")
    }
    well, refused = await asyncio.gather(doctor(fleet, {}), doctor(fleet, wrong))
    for check in ("redis", "database"):
        assert "problem" not in well[check]
        assert "problem" in refused[check]
        assert "password" in refused[check]


async def test_no_process_ever_logged_a_secret_a_token_or_a_ticket(fleet: Fleet) -> None:
    """The whole folder's tests have made these logs: errors, outages and restarts are in them."""
    generation = await fleet.ask("demo-words-3")
    await fleet.ended(generation)
    signed = await fleet.post(f"/v1/generations/{generation}/ticket")
    ticket = signed["url"].partition("ticket=")[2]
    async with (
        aiohttp.ClientSession() as anybody,
        anybody.get(fleet.nginx_url + signed["url"]) as stream,
    ):
        assert stream.status == 200
        assert "completed" in await stream.text()
    await notes(fleet, f"/v1/generations/{generation}/events")
    secrets = (SIGNING_SECRET, MODEL_KEY, "hush-", fleet.token, ticket, ticket.split(".")[1])
    logs = [path for path in fleet.directory.rglob("*") if path.is_file() and path.suffix == ".log"]
    texts = {path.name: path.read_text(errors="replace") for path in logs}
    assert len(texts) >= 7
    assert sum(map(len, texts.values())) > 2000
    for name, text in texts.items():
        for secret in secrets:
            assert secret not in text, name


async def notes(fleet: Fleet, path: str) -> list[dict[str, str]]:
    """What nginx noted of this path, once it has: it writes when a request is over."""
    await eventually(lambda: bool(fleet.served(path)))
    return fleet.served(path)


async def is_busy(fleet: Fleet) -> bool:
    """Whether enough is running to be hurt."""
    return len(await fleet.in_flight()) >= 2


async def doctor(fleet: Fleet, changed: dict[str, str]) -> dict[str, str]:
    """Verdicts and findings of `persona-relay doctor` by check, in the fleet's environment."""
    _, told = await fleet.command("doctor", **changed)
    found: dict[str, str] = {}
    for one in told["checks"]:
        found[one["check"]] = f"{found.get(one['check'], '')} {one['verdict']}: {one['found']}"
    return found
