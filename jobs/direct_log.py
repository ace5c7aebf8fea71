"""The publisher's way to the logs: a flush is one write, its answer one callback, and no task.

Logs that only go on by a frame, or are looked at, take a script that does no more, and one alone
that this connection wrote last, plain commands; whatever these leave, and all that begins, ends or
is to live on, takes the script that knows every condition.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import hiredis
from redis.exceptions import NoScriptError

from jobs import keys
from jobs.own_tail import REPLIES, OwnTails, took
from jobs.redis_calls import RedisCalls, open_calls
from jobs.redis_wire import Address, failure
from jobs.stream_log import (
    ADVANCE,
    APPEND,
    Append,
    Appended,
    Outcome,
    append_arguments,
    read_answers,
)

TakeAnswers = Callable[[list[Appended] | Exception], None]
"""Gets an answer for each append, in order, or why there are none."""


class DirectLog:
    """Open it with `open_direct_log`."""

    def __init__(self, calls: RedisCalls) -> None:
        self._calls = calls
        self._own = OwnTails()

    def send(self, appends: Sequence[Append], take: TakeAnswers) -> None:
        """Appends and publishes for many generations; `take` is called once, in bounded time.

        It gets what Redis refused, or one of REDIS_FAILURES where it is not known what became of
        the appends. Only to be called when the flush before was answered.
        """
        if not self._calls.connected:
            self._own.forget()
        if len(appends) > 1:
            _Flush(self._calls, appends, take).begin()
            return
        [append] = appends
        if _goes_on(append) and (packed := self._own.transaction(append)):
            self._calls.ask(packed, REPLIES, partial(self._went_on, append, take))
        else:
            _Flush(self._calls, appends, partial(self._found, append, take)).begin()

    def _went_on(self, append: Append, take: TakeAnswers, replies: list[Any] | Exception) -> None:
        if isinstance(replies, Exception):
            take(replies)
            return
        try:
            went_on = took(append, replies)
        except Exception as error:
            self._calls.reconnect()
            take(error)
            return
        if went_on:
            self._own.found(append.generation_id, append.attempt, append.first)
            take([Appended(Outcome.APPLIED, append.attempt, append.first)])
            return
        refused = isinstance(replies[-1], hiredis.ReplyError)
        if refused and not str(replies[-1]).startswith("EXECABORT"):
            # It may still be waiting for the end, and take all that follows into the transaction.
            self._calls.reconnect()
        _Flush(self._calls, [append], partial(self._looked, append, take, refused)).look()

    def _looked(
        self,
        append: Append,
        take: TakeAnswers,
        refused: bool,
        answers: list[Appended] | Exception,
    ) -> None:
        if refused and not isinstance(answers, Exception):
            # What is refused for a while, as by a full server, is refused to the script as well.
            self._own.give_up()
        self._found(append, take, answers)

    def _found(
        self, append: Append, take: TakeAnswers, answers: list[Appended] | Exception
    ) -> None:
        if not isinstance(answers, Exception):
            [found] = answers
            self._own.found(append.generation_id, found.attempt, found.seq)
        take(answers)


@contextmanager
def open_direct_log(address: Address) -> Iterator[DirectLog]:
    """The logs on this server, over a connection of their own, until the block ends."""
    with open_calls(address) as calls:
        yield DirectLog(calls)


class _Flush:
    """One flush. Its appends go by their numbers, each until it has its answer."""

    __slots__ = ("_answers", "_appends", "_calls", "_take")

    def __init__(self, calls: RedisCalls, appends: Sequence[Append], take: TakeAnswers) -> None:
        self._calls = calls
        self._appends = appends
        self._take = take
        # True of all that the shorter script does not leave; the others' are put in their places.
        self._answers = [
            Appended(Outcome.APPLIED, one.attempt, one.first - 1 + len(one.frames))
            for one in appends
        ]

    def begin(self) -> None:
        moving: list[int] = []
        others: list[int] = []
        for number, one in enumerate(self._appends):
            (moving if _goes_on(one) else others).append(number)
        self._ask(moving, others)

    def look(self) -> None:
        """Asks the script that knows every condition, of all of them."""
        self._ask([], list(range(len(self._appends))))

    def _ask(self, moving: list[int], others: list[int], *, load: bool = False) -> None:
        commands = []
        if load:
            commands += [_packed("SCRIPT", "LOAD", script.text) for script in (ADVANCE, APPEND)]
        if moving:
            arguments = _advance_arguments([self._appends[number] for number in moving])
            commands.append(_packed("EVALSHA", ADVANCE.digest, *arguments))
        if others:
            arguments = append_arguments([self._appends[number] for number in others])
            commands.append(_packed("EVALSHA", APPEND.digest, *arguments))
        answered = partial(self._answered, moving, others, load)
        self._calls.ask(b"".join(commands), len(commands), answered)

    def _answered(
        self, moving: list[int], others: list[int], loaded: bool, replies: list[Any] | Exception
    ) -> None:
        try:
            answers = self._read(moving, others, loaded, replies)
        except Exception as error:
            # An answer that makes no sense: unheard of, it would end all publishing for good. It
            # may be another question's, as all that would follow on this connection.
            self._calls.reconnect()
            answers = error
        if answers is not None:
            self._take(answers)

    def _read(
        self, moving: list[int], others: list[int], loaded: bool, replies: list[Any] | Exception
    ) -> list[Appended] | Exception | None:
        """The answers, or why there are none; None where it asked once more."""
        if isinstance(replies, Exception):
            return replies
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                error = failure(reply)
                if isinstance(error, NoScriptError) and not loaded:
                    # What the other script did meanwhile is found to be there already.
                    self._ask(moving, others, load=True)
                    return None
                return error
        if others:
            for number, answer in zip(others, read_answers(replies.pop()), strict=True):
                self._answers[number] = answer
        left = [moving[place - 1] for place in replies.pop()] if moving else []
        if left:
            self._ask([], left)
            return None
        return self._answers


def _goes_on(one: Append) -> bool:
    """Whether it is one frame more of a log that has some, or a look at it, and nothing else."""
    # Of a later one, Redis may have been put back to the log before, of the same length.
    is_first = one.attempt == 1 and one.first > 1
    # A frame that was not kept is none that the shorter script would tell from a look.
    is_short = not one.frames or (len(one.frames) == 1 and one.frames[0] != b"")
    return is_first and is_short and not (one.terminal or one.announce or one.ttl_ms)


def _advance_arguments(appends: Sequence[Append]) -> list[bytes | str | int]:
    arguments: list[bytes | str | int] = [len(appends)]
    arguments += [keys.log(one.generation_id) for one in appends]
    for one in appends:
        if one.frames:
            arguments += (
                keys.live(one.generation_id), f"{one.attempt}-{one.first}", one.first - 1,
                b"%d %d %d 0\n" % (one.attempt, one.first, one.first), one.frames[0],
            )  # fmt: skip
        else:
            arguments += (b"", b"", one.first - 1, b"", b"")
    return arguments


def _packed(*command: bytes | str | int) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed
