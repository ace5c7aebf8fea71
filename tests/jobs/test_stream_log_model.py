"""The log against a model of it in a few lines: whatever five attempts do and whatever is lost."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import cast

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from jobs import keys
from jobs.direct_log import DirectLog, open_direct_log
from jobs.redis_link import open_redis
from jobs.stream_log import LOOK, Append, Appended, Message, Outcome, StreamLog, parse_message
from tests.jobs.log_appends import sent

TTL_MS = 90_000
NAMES = ("gen_a", "gen_b")


@dataclass
class Modelled:
    """A log as it should be: entries of one attempt, and the highest id that Redis ever saw."""

    attempt: int = 0
    entries: dict[int, bytes] = field(default_factory=dict)
    top: int = 0

    @property
    def tail(self) -> tuple[int, int]:
        return (self.attempt, max(self.entries)) if self.entries else (0, 0)

    @property
    def whole(self) -> bool:
        return not self.entries or max(self.entries) == len(self.entries)

    def clear(self) -> None:
        self.attempt, self.entries, self.top = 0, {}, 0


def appended(log: Modelled, one: Append) -> tuple[Outcome, list[Message]]:
    """What the answer should be and who is told; `log` is changed as the log should be."""
    if log.attempt == one.attempt and not log.whole:
        log.clear()
    attempt, tail = log.tail
    if attempt > one.attempt:
        return Outcome.STALE, []
    have = tail if attempt == one.attempt else 0
    if one.first > have + 1:
        return Outcome.GAP, []
    last = one.first + len(one.frames) - 1
    if one.frames and last <= have:
        return Outcome.ALREADY_THERE, []
    if not one.frames:
        message = Message(one.attempt, have + 1, have, one.terminal, b"")
        return Outcome.APPLIED, [message] if one.announce else []
    if (log.attempt, log.top) >= (one.attempt, have + 1):
        # Redis refuses an id that is not above all it has seen in this stream.
        log.clear()
        return Outcome.GAP, []
    if attempt < one.attempt:
        log.clear()
    new = one.frames[have + 1 - one.first :]
    log.attempt, log.top = one.attempt, last
    log.entries.update(enumerate(new, have + 1))
    return Outcome.APPLIED, [Message(one.attempt, have + 1, last, one.terminal, b"".join(new))]


class LogMachine(RuleBasedStateMachine):
    """Five attempts of two generations write over one server, which forgets at will."""

    url: str
    port: int
    directly: bool
    """Whether it is written as the publisher does, by the two scripts."""

    @initialize()
    def connect(self) -> None:
        self.runner = asyncio.Runner()
        self.client = redis.Redis(port=self.port)
        self.client.flushall()
        self.subscriber = self.client.pubsub(  # type: ignore[no-untyped-call]
            ignore_subscribe_messages=True
        )
        self.subscriber.subscribe(*map(keys.live, NAMES))
        self.models = {name: Modelled() for name in NAMES}
        self.link = open_redis(self.url)
        self.log = StreamLog(self.runner.run(self.link.__aenter__()))
        self.direct = self.runner.run(self.opened())

    async def opened(self) -> DirectLog:
        self.stack = ExitStack()
        return self.stack.enter_context(open_direct_log(self.log.address))

    async def append_all(self, appends: list[Append]) -> list[Appended]:
        return await (sent(self.direct, appends) if self.directly else self.log.append(appends))

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.stack.close()
            self.runner.run(self.link.__aexit__(None, None, None))
            self.runner.close()
            self.subscriber.close()
            self.client.close()

    @rule(
        wanted=st.lists(
            st.tuples(
                st.sampled_from(NAMES),
                st.integers(1, 5),
                st.one_of(st.integers(1, 8), st.none()),
                st.integers(0, 4),
                st.booleans(),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def append(self, wanted: list[tuple[str, int, int | None, int, bool]]) -> None:
        appends: list[Append] = []
        expected: list[tuple[Outcome, int, int]] = []
        messages: dict[str, list[Message]] = {name: [] for name in NAMES}
        for name, attempt, first, count, flag in wanted:
            model = self.models[name]
            if self.directly and any(one.generation_id == name for one in appends):
                # A publisher has one append of a log in a flush.
                continue
            if first is None or (self.directly and model.tail[0] != attempt):
                # As a writer does that knows where the tail is.
                first = model.tail[1] + 1 if model.tail[0] == attempt else 1
            frames = [b"%d.%d;" % (attempt, seq) for seq in range(first, first + count)]
            ttl_ms = TTL_MS if flag else 0
            one = Append(name, attempt, first, frames, ttl_ms, terminal=flag, announce=flag)
            appends.append(one)
            outcome, told = appended(model, one)
            expected.append((outcome, *model.tail))
            messages[name] += told
        answers = self.runner.run(self.append_all(appends))
        assert [(one.outcome, one.attempt, one.seq) for one in answers] == expected
        assert self.told() == messages

    @rule(name=st.sampled_from(NAMES))
    def lose(self, name: str) -> None:
        self.client.delete(keys.log(name))
        self.models[name].clear()

    @rule(name=st.sampled_from(NAMES), kept=st.integers(0, 6))
    def roll_back(self, name: str, kept: int) -> None:
        """What a restart does that brings back an older state."""
        model = self.models[name]
        self.client.delete(keys.log(name))
        model.entries = {seq: one for seq, one in model.entries.items() if seq <= kept}
        if not model.entries:
            model.clear()
        for seq, one in sorted(model.entries.items()):
            self.client.xadd(keys.log(name), {"f": one}, id=f"{model.attempt}-{seq}")
            model.top = seq

    @rule(name=st.sampled_from(NAMES), seq=st.integers(1, 6))
    def damage(self, name: str, seq: int) -> None:
        model = self.models[name]
        self.client.xdel(keys.log(name), f"{model.attempt or 1}-{seq}")
        model.entries.pop(seq, None)

    @rule()
    def forget_scripts(self) -> None:
        self.client.script_flush()

    def told(self) -> dict[str, list[Message]]:
        """All that was published since the last time, by name."""
        heard: dict[str, list[Message]] = {}
        for name in NAMES:
            self.client.publish(keys.live(name), LOOK)
            heard[name] = []
        marks = 0
        while marks < len(NAMES):
            message = self.subscriber.get_message(timeout=5)
            if message is None:
                continue
            one = parse_message(message["data"])
            if one.attempt == 0:
                marks += 1
            else:
                heard[message["channel"].decode().rpartition(":")[2]].append(one)
        return heard

    @invariant()
    def the_log_is_as_modelled(self) -> None:
        for name, model in getattr(self, "models", {}).items():
            stored = [
                (entry_id, fields[b"f"])
                for entry_id, fields in cast(
                    "list[tuple[bytes, dict[bytes, bytes]]]", self.client.xrange(keys.log(name))
                )
            ]
            assert stored == [
                (b"%d-%d" % (model.attempt, seq), one) for seq, one in sorted(model.entries.items())
            ]

    @invariant()
    def a_reader_is_served_what_is_whole_and_nothing_else(self) -> None:
        for name, model in getattr(self, "models", {}).items():
            for first in (1, 3):
                page = self.runner.run(self.log.read(name, model.attempt or 1, first))
                following = [one for seq, one in sorted(model.entries.items()) if seq >= first]
                tail = model.tail[1]
                if following and len(following) == tail - first + 1:
                    assert page is not None
                    assert page.frames == following
                elif following or tail < first - 1:
                    assert page is None
                else:
                    assert page is not None
                    assert not page.frames


@pytest.mark.parametrize("way", ["client", "publisher"])
def test_the_log_does_what_its_model_does(redis_url: str, way: str) -> None:
    class Bound(LogMachine):
        directly = way == "publisher"
        url = redis_url
        port = int(redis_url.rpartition(":")[2].split("/")[0])

    run_state_machine_as_test(
        Bound,
        settings=settings(
            deadline=None,
            max_examples=60,
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),
        ),
    )
