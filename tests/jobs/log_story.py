"""A generation that writes as one does, and what its log must be in the end."""

import random

from jobs.attempt_log import AttemptLog
from jobs.events import FileDelta, Notice, is_token, token_text
from jobs.timeline import rebuild, unpack
from tests.jobs.log_rig import Listener, Rig, ended


def as_sql_tells(log: AttemptLog) -> list[bytes]:
    """The frames as they are rebuilt from what is committed; empty for a preview."""
    return [one for _, one in rebuild(log.attempt, log.text, unpack(log.timeline()))]


async def finished(rig: Rig, log: AttemptLog) -> list[bytes]:
    """Ends the log, and gives what Redis has of it then; asserts that it is what SQL tells too."""
    log.close()
    log.append_terminal(ended(log.generation_id, log.attempt, log.text))
    assert await rig.publisher.drain(20)
    stored = await rig.stored(log.generation_id, log.attempt)
    told = as_sql_tells(log)
    assert len(stored) == len(told) + 1 == log.seq
    for one, again in zip(stored, told, strict=False):
        assert one == again or (not again and (not one or b"event: file_delta" in one))
    assert "".join(token_text(one) for one in stored if one and is_token(one)) == log.text
    return stored


def assert_told(listener: Listener, stored: list[bytes]) -> None:
    """Whatever a live reader was told is what the log says, at its place."""
    for message in listener.messages:
        if b"event: file_delta" not in message.frames:
            part = [one for one in stored[message.first - 1 : message.last] if one]
            assert message.frames == b"".join(
                one for one in part if b"event: file_delta" not in one
            )


def write_some(log: AttemptLog, chance: random.Random, number: int) -> None:
    """One of the things that a generation does."""
    doing = chance.random()
    if doing < 0.8:
        log.append_text(chance.choice(["a", "word ", "\n\n", "😀é", "\u2028"]))
    elif doing < 0.9:
        log.append_file_delta(FileDelta("f.md", number, "x"))
    else:
        log.append("notice", Notice("n", str(number)))
