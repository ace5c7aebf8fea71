"""The parts of the hot path by themselves: microseconds of processor time each."""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

from jobs.attempt_log import AttemptLog
from jobs.cursor import Cursor
from jobs.events import token_frame
from jobs.provider_round import RoundReader
from jobs.publisher import open_publisher
from jobs.redis_link import open_redis
from jobs.stream_log import Message, StreamLog, parse_message
from persona_apply import Catalogue, Draft, Persona, ToolCall
from tests.benchmarks.listening import listening
from tests.benchmarks.upstream import TOKEN, chunk
from tests.jobs.log_rig import started
from tests.services import RedisServer
from tests.services.redis_server import redis_binary

ROUNDS = 20_000
FLUSHES = 300
LOGS = 100


def measured(work: Callable[[], object], units: int) -> float:
    """Microseconds of processor time a unit, the best of three."""
    costs = []
    for _ in range(3):
        started = time.process_time()
        work()
        costs.append((time.process_time() - started) / units * 1e6)
    return min(costs)


def decode(tokens: int) -> None:
    """Reads a model's stream, so many tokens a read."""
    piece = chunk({"content": TOKEN}).split(b"\r\n", 1)[1].removesuffix(b"\r\n") * tokens
    reader = RoundReader()
    for _ in range(ROUNDS // tokens):
        reader.feed(piece)


def encode() -> None:
    """Numbers and frames one token at a time, as a flush takes it."""
    log = AttemptLog("gen_bench", 1, lambda _log, _urgent: None)
    for number in range(ROUNDS):
        log.append_text(TOKEN)
        log.unsent()
        log.sent = number + 1


def hear() -> None:
    """Parses the message that a relay gets for a flush of one token."""
    payload = b"1 7 7 0\n" + token_frame(Cursor(1, 7, 42), TOKEN)
    for _ in range(ROUNDS):
        parse_message(payload)


def apply() -> None:
    """Writes a file into a persona, thirty-two times over."""
    draft = Draft.of(
        Persona(name="Ada", brief="an engineer", files={}, skills=()), Catalogue.default()
    )
    for number in range(32):
        content = "a line of text\\n" * 50
        arguments = f'{{"path":"notes/{number}.md","content":"{content}"}}'
        draft, _ = draft.take(ToolCall(str(number), "write_file", arguments))


async def append(url: str) -> float:
    """Flushes one token of each of a hundred logs, with the answer of Redis awaited."""
    async with (
        open_redis(url) as redis,
        open_publisher(
            StreamLog(redis), flush_ms=15, ttl_seconds=60, lease_seconds=10
        ) as publisher,
    ):
        logs = [started(publisher, f"gen_{number}") for number in range(LOGS)]
        began = time.process_time()
        for _ in range(FLUSHES):
            for log in logs:
                log.append_text(TOKEN)
            assert await publisher.drain(10)
        return (time.process_time() - began) / FLUSHES / LOGS * 1e6


def costs() -> Iterator[tuple[str, str, float]]:
    """Every part: its name, its unit and its cost in microseconds."""
    yield "decode", "token", measured(partial(decode, 1), ROUNDS)
    yield "decode", "token, 50 a read", measured(partial(decode, 50), ROUNDS)
    yield "encode", "frame", measured(encode, ROUNDS)
    binary = redis_binary()
    assert binary is not None, "there is no Valkey and no Redis"
    server = RedisServer(binary)
    try:
        yield "append", "token, 100 logs a flush", asyncio.run(append(server.url))
    finally:
        server.close()
    yield "follow: hear", "message", measured(hear, ROUNDS)
    yield "follow: pass on", "delivery", asyncio.run(passed_on())
    yield "apply", "file", measured(apply, 32)


async def passed_on() -> float:
    """A live message to a thousand readers of one generation, to where their sockets begin."""
    with listening(1000) as tell:
        started = time.process_time()
        for seq in range(2, 102):
            tell(Message(1, seq, seq, False, token_frame(Cursor(1, seq, seq), TOKEN)))
        return (time.process_time() - started) / 100 / 1000 * 1e6
