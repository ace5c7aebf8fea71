"""From any cursor a reader gets exactly the rest: with a log, with one seeded anew, with SQL."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, given, settings

from jobs.attempt_log import AttemptLog
from jobs.cursor import Cursor
from jobs.direct_log import TakeAnswers
from jobs.publisher import Publisher
from jobs.stream_log import Append
from tests.relay.heard import Heard, assert_is_the_rest, heard, text_of
from tests.relay.scripts import REFINE, Preview, Say, Script, play, scripts
from tests.relay.stage import Author, Reader, ReadingSide, authoring, reading_side
from tests.services import eventually

CHAT: Script = (Say("ChidÉ 🎉"),)
few = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One author, and two relays that read what it writes."""

    author: Author
    left: ReadingSide
    right: ReadingSide

    async def readers(self, log: AttemptLog, events: Sequence[Heard]) -> list[Reader]:
        """A reader at every event's cursor, and one without, by turns on either relay."""
        cursors = [None, Cursor(log.attempt, 0, 0), *(event.cursor for event in events)]
        sides = [self.left, self.right] * len(cursors)
        return [
            await side.joined(log.generation_id, cursor)
            for side, cursor in zip(sides, cursors, strict=False)
        ]

    async def assert_all_get_the_rest(
        self, log: AttemptLog, whole: Sequence[Heard], *, previews_kept: bool = True
    ) -> None:
        """Every cut point of an ended generation; the terminal one apart, which is a 204."""
        readers = await self.readers(log, whole[:-1])
        await assert_they_get_the_rest(readers, whole, previews_kept=previews_kept)


async def assert_they_get_the_rest(
    readers: Sequence[Reader], whole: Sequence[Heard], *, previews_kept: bool = True
) -> None:
    """Each reader is told to the end, and told exactly what follows its cursor."""
    told = await asyncio.gather(*(reader.finish() for reader in readers))
    for reader, events in zip(readers, told, strict=True):
        after = reader.follower._cursor
        assert_is_the_rest(events, whole, after, previews_kept=previews_kept)
        assert "reset" not in {one.event for one in events if one.cursor.attempt == 1}


@pytest.fixture
async def stage(migrated_url: str, redis_url: str) -> AsyncIterator[Stage]:
    """A stage over one database and one Redis."""
    async with (
        authoring(migrated_url, redis_url) as author,
        reading_side(migrated_url, redis_url) as left,
        reading_side(migrated_url, redis_url) as right,
    ):
        yield Stage(author, left, right)


@few
@given(past=scripts, future=scripts)
@example(past=REFINE, future=REFINE)
@example(past=(), future=CHAT)
async def test_while_it_runs_and_the_log_is_there(
    stage: Stage, past: Script, future: Script
) -> None:
    log = await stage.author.running()
    await play(stage.author, log, past)
    readers = await stage.readers(log, await stage.author.log_of(log))
    await play(stage.author, log, future)
    ended = await stage.author.end(log)
    whole = await stage.author.log_of(log)
    await assert_they_get_the_rest(readers, whole)
    assert ended.output is not None
    assert text_of(whole) == ended.output.text


@contextmanager
def sent_by(publisher: Publisher) -> Iterator[list[Heard]]:
    """Every event that it sends meanwhile: a lost log takes no preview, and yet its readers may.

    What is published of an entry is the true next one, even where the log is gone.
    """
    sent: list[Heard] = []
    logs = publisher._to

    class Noting:
        def send(self, appends: Sequence[Append], take: TakeAnswers) -> None:
            sent.extend(heard(frame for one in appends for frame in one.frames))
            logs.send(appends, take)

    publisher._to = Noting()
    try:
        yield sent
    finally:
        publisher._to = logs


@few
@given(past=scripts, future=scripts)
@example(past=REFINE, future=REFINE)
@example(past=(), future=(Preview("a.md", "# One"),))
async def test_while_it_runs_and_the_log_was_lost_and_seeded_anew(
    stage: Stage, past: Script, future: Script
) -> None:
    log = await stage.author.running()
    await play(stage.author, log, past)
    before = await stage.author.log_of(log)
    there = await stage.readers(log, before)
    await asyncio.gather(*(reader.hears_up_to(log.seq) for reader in there[:2]))
    await stage.author.lose_log(log)
    late = await stage.readers(log, before)
    stage.author.publisher.touch()
    later = await stage.readers(log, before)
    with sent_by(stage.author.publisher) as sent:
        await play(stage.author, log, future)
        await stage.author.end(log)
    previews = [one for one in sent if one.event == "file_delta"]
    after = {one.cursor.seq: one for one in (*previews, *await stage.author.log_of(log))}
    whole = [*before, *(after[seq] for seq in sorted(after) if seq > len(before))]
    assert stage.author.publisher.counts.reseeds > 0
    for readers in (there, late, later):
        await assert_they_get_the_rest(readers, whole, previews_kept=False)


@few
@given(script=scripts)
@example(script=REFINE)
@example(script=CHAT)
async def test_once_it_ended_with_its_log_and_without(stage: Stage, script: Script) -> None:
    log = await stage.author.running()
    await play(stage.author, log, script)
    await stage.author.end(log)
    whole = await stage.author.log_of(log)
    await stage.assert_all_get_the_rest(log, whole)
    await stage.author.lose_log(log)
    await stage.assert_all_get_the_rest(log, whole, previews_kept=False)


@few
@given(first=scripts, past=scripts, future=scripts)
@example(first=REFINE, past=REFINE, future=REFINE)
async def test_of_a_second_attempt_also_with_cursors_of_the_first(
    stage: Stage, first: Script, past: Script, future: Script
) -> None:
    generation = await stage.author.queued()
    lost = await stage.author.begin(generation)
    await play(stage.author, lost, first)
    of_the_first = await stage.author.log_of(lost)
    old = await stage.readers(lost, of_the_first)
    log = await stage.author.begin(generation, seen=1)
    await play(stage.author, log, past)
    new = await stage.readers(log, await stage.author.log_of(log))
    returning = await stage.readers(lost, of_the_first)
    await play(stage.author, log, future)
    await stage.author.end(log)
    whole = await stage.author.log_of(log)
    assert [one.event for one in whole[:2]] == ["reset", "status"]
    assert whole[0].data == {"reason": "worker_lost", "attempt": 2}
    await assert_they_get_the_rest(new, whole)
    for reader in (*old, *returning):
        told = await reader.finish()
        assert_is_the_rest([one for one in told if one.cursor.attempt == 2], whole)
    for reader in returning:
        assert {one.cursor.attempt for one in reader.events} == {2}
    for cursor in (None, Cursor(1, 1, 0), of_the_first[-1].cursor):
        assert_is_the_rest(await stage.left.told(log.generation_id, cursor), whole)
    await stage.assert_all_get_the_rest(log, whole)
    await stage.author.lose_log(log)
    await stage.assert_all_get_the_rest(log, whole, previews_kept=False)


async def test_a_lost_preview_is_a_cursor_like_any_other(stage: Stage) -> None:
    log = await stage.author.running()
    await play(stage.author, log, REFINE)
    before = await stage.author.log_of(log)
    previews = [one.cursor for one in before if one.event == "file_delta"]
    assert len(previews) > 3
    await stage.author.lose_log(log)
    stage.author.publisher.touch()
    await stage.author.flush()
    assert len(await stage.author.log_of(log)) == len(before) - len(previews)
    good = [await stage.left.joined(log.generation_id, cursor) for cursor in previews]
    bad = [
        await stage.left.joined(log.generation_id, Cursor(1, cursor.seq, cursor.offset + 1))
        for cursor in previews
    ]
    # Judged by the log that was seeded anew, in which these events are empty.
    for reader in bad:
        await reader.hears(lambda events: [one.event for one in events[:1]] == ["reset"])
    await eventually(lambda: not any(reader.follower.waits for reader in good))
    await stage.author.end(log)
    whole = [*before, (await stage.author.log_of(log))[-1]]
    await assert_they_get_the_rest(good, whole, previews_kept=False)
    for reader in bad:
        assert (await reader.finish())[0].data == {"reason": "unknown_cursor", "attempt": 1}
