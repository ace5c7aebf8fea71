"""One log's next entry by plain commands, where this connection has written the last one itself.

A script costs Redis a third more than the same commands in a transaction, where one log is all
that a flush is of. A transaction decides nothing, so it is sent only where nothing but a newer
attempt or a loss can have come between: XADD refuses what either leaves, and the log's length, told
with it, shows whether it was put back to an earlier time on the same connection. Readers pass over
what is published of an entry that was refused: it is an older attempt's, or follows what they have.
"""

from typing import Any

from jobs import keys
from jobs.stream_log import Append

REPLIES = 5
"""How many a transaction has: its beginning, three commands taken, what became of them."""
LOGS_REMEMBERED = 1024
"""Beyond, all are forgotten: each goes on by the script once more."""

_TRANSACTION = (
    b"*1\r\n$5\r\nMULTI\r\n"
    b"*2\r\n$4\r\nXLEN\r\n$%d\r\n%b\r\n"
    b"*6\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$10\r\nNOMKSTREAM\r\n$%d\r\n%b\r\n$1\r\nf\r\n$%d\r\n%b\r\n"
    b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b%b\r\n"
    b"*1\r\n$4\r\nEXEC\r\n"
)


class OwnTails:
    """The last entries that one connection wrote of first attempts, whose logs have no gap."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}
        self._given_up = False

    def forget(self) -> None:
        """Knows of none any more: the connection is another one."""
        self._seqs.clear()

    def give_up(self) -> None:
        """Knows of none from now on: this server takes no transactions."""
        self._seqs.clear()
        self._given_up = True

    def found(self, generation_id: str, attempt: int, seq: int) -> None:
        """Takes note of a log's last entry, as this connection has just seen or written it."""
        if attempt != 1:
            # None, or that of a later attempt: the script is to know of every entry of it.
            self._seqs.pop(generation_id, None)
            return
        if self._given_up:
            return
        if len(self._seqs) >= LOGS_REMEMBERED and generation_id not in self._seqs:
            self._seqs.clear()
        self._seqs[generation_id] = seq

    def transaction(self, append: Append) -> bytes | None:
        """The packed commands that put its frame behind the log's last; None where that is unknown.

        For an append that does no more than that: of one frame of a first attempt, and no end.
        """
        is_known = self._seqs.get(append.generation_id) == append.first - 1
        if not is_known or len(append.frames) != 1:
            return None
        log = keys.log(append.generation_id).encode()
        live = keys.live(append.generation_id).encode()
        seq, frame = append.first, append.frames[0]
        entry, head = b"1-%d" % seq, b"1 %d %d 0\n" % (seq, seq)
        return _TRANSACTION % (
            len(log), log,
            len(log), log, len(entry), entry, len(frame), frame,
            len(live), live, len(head) + len(frame), head, frame,
        )  # fmt: skip


def took(append: Append, replies: list[Any]) -> bool:
    """Whether the transaction did what it should; if not, the log is to be looked at."""
    match replies[-1]:
        case [int(there), bytes(), int()]:
            return there == append.first - 1
    return False
