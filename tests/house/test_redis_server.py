"""The Redis fixtures give a real, empty server that stops, restarts and freezes when told."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis
from redis.asyncio import Redis

from tests.services import RedisServer
from tests.services.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_gets_an_empty_redis(redis_url: str, turn: int) -> None:
    async with Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        await client.set(f"left by {turn}", 1)


def test_a_restart_with_persistence_keeps_the_data(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis(persistence=True)
    server.command("SET", "key", "kept")
    first = server.pid
    server.restart(keep_data=True)
    assert server.pid != first
    assert server.command("GET", "key") == b"kept"


def test_a_restart_may_lose_the_data(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(persistence=True)
    server.command("SET", "key", "lost")
    server.restart(keep_data=False)
    assert server.command("GET", "key") is None


def test_data_is_not_promised_by_a_server_without_persistence(
    start_redis: Callable[..., RedisServer],
) -> None:
    with pytest.raises(ValueError, match="keeps no data"):
        start_redis().restart(keep_data=True)


async def test_a_frozen_server_answers_nothing_until_it_is_thawed(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with Redis.from_url(server.url) as client:
        await client.ping()
        server.freeze()
        answer = asyncio.ensure_future(client.ping())
        done, _ = await asyncio.wait({answer}, timeout=0.1)
        assert not done
        server.thaw()
        assert await asyncio.wait_for(answer, 5)


def test_a_stopped_server_refuses_connections(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    server.stop()
    assert not server.running
    with pytest.raises(redis.ConnectionError):
        server.command("PING")


def test_options_reach_the_server(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(options=("--maxmemory", "3mb"))
    assert server.command("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"3145728"]


def test_a_server_dies_with_a_killed_test_run(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        from tests.services.redis_server import RedisServer, redis_binary
        server = RedisServer(redis_binary())
        print(server.pid, flush=True)
        input()
    """)
    run = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert psutil.pid_exists(pid)
        run.send_signal(signal.SIGKILL)
    until(lambda: not alive(pid))


def alive(pid: int) -> bool:
    """False once it has ended, also while nobody has collected it."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
