"""At scale: idle readers of one relay, many starts at once, and what one long answer takes."""

import asyncio
import gc
import time
import tracemalloc

from jobs.attempt_log import AttemptLog
from jobs.redis_link import open_redis
from jobs.stream_log import Append, StreamLog
from tests.benchmarks.system import chat, reading, system
from tests.services import RedisServer, eventually
from tests.services.redis_server import redis_binary

IDLE_READERS = 5000
STARTS = 1000
LONG_TOKENS = 60_000
ENTRIES = 20_000
WITHIN = 150.0


async def _idle() -> dict[str, float]:
    with system(RELAY_HEARTBEAT_SECONDS="60", RELAY_IDLE_TIMEOUT_SECONDS="600") as running:
        async with reading(running, [chat("steady-600-0.001")]) as first:
            await eventually(lambda: first[0].tokens > 0, within=WITHIN, every=0.1)
            events = first[0].location
            empty = running.memory()["relay"]
            get = b"GET %b/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % events
            async with reading(running, [get] * IDLE_READERS) as readers:
                await eventually(
                    lambda: all(one.tokens for one in readers), within=WITHIN, every=0.1
                )
                before = running.cpu()["relay"]
                await asyncio.sleep(10)
                share = (running.cpu()["relay"] - before) / 10
                held = (running.memory()["relay"] - empty) / IDLE_READERS
                lost = sum(reader.lost for reader in readers)
    return {"readers": IDLE_READERS, "lost": lost, "KiB each": held, "core %": share * 100}


async def _starts() -> dict[str, float]:
    with system() as running:
        started = time.monotonic()
        async with reading(running, [chat("steady-20-10")] * STARTS) as readers:
            asked = time.monotonic() - started
            await eventually(lambda: all(one.ended for one in readers), within=WITHIN, every=0.1)
            whole = sum(reader.tokens == 20 for reader in readers)
    seconds = time.monotonic() - started
    return {"starts": STARTS, "asked within s": asked, "whole": whole, "all ended after s": seconds}


async def _long() -> dict[str, float]:
    with system() as running:
        async with reading(running, [chat("steady-100-0")] * 5) as readers:
            await eventually(lambda: all(one.ended for one in readers), within=WITHIN, every=0.1)
        before = running.memory()
        async with reading(running, [chat(f"steady-{LONG_TOKENS}-6000")] * 5) as readers:
            await eventually(
                lambda: all(one.tokens >= LONG_TOKENS * 0.9 for one in readers), within=WITHIN
            )
            after = running.memory()
    characters = LONG_TOKENS * 6 * 0.9 / 1024
    return {
        "KiB of text": characters,
        **{f"KiB in the {name}": (after[name] - before[name]) / 5 for name in after},
    }


async def _an_entry_a_token(url: str) -> dict[str, float]:
    """What a log of nothing but single tokens takes, each acknowledged before the next comes."""
    async with open_redis(url) as redis:
        stream_log = StreamLog(redis)
        # The script is loaded, and the connection open, before anything is counted.
        await stream_log.append([Append("gen_first", 1, 1, [b"x"], 60_000)])
        empty = (await redis.info("memory"))["used_memory"]
        tracemalloc.start()
        log = AttemptLog("gen_bench", 1, lambda _log, _urgent: None)
        for number in range(1, ENTRIES + 1):
            log.append_text(f"{number % 10_000:04} ")
            await stream_log.append([Append("gen_bench", 1, number, log.unsent(), 600_000)])
            log.sent = number
        log.unsent()
        assert await stream_log.tail("gen_bench") == (1, ENTRIES)
        in_redis = (await redis.info("memory"))["used_memory"] - empty
        text = log.characters
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        del log
        gc.collect()
        held -= tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    return {
        "entries": ENTRIES,
        "KiB of text": text / 1024,
        "KiB in the worker's log": held / 1024,
        "KiB in Redis": in_redis / 1024,
        "bytes of Redis an entry": in_redis / ENTRIES,
    }


def _entries() -> dict[str, float]:
    binary = redis_binary()
    assert binary is not None, "there is no Valkey and no Redis"
    server = RedisServer(binary)
    try:
        return asyncio.run(_an_entry_a_token(server.url))
    finally:
        server.close()


def figures() -> dict[str, dict[str, float]]:
    """Every figure, by what was tried."""
    return {
        "idle readers": asyncio.run(_idle()),
        "starts at once": asyncio.run(_starts()),
        "a long answer": asyncio.run(_long()),
        "an entry a token": _entries(),
    }
