"""What readers of a lost attempt were shown: what the log in Redis still has of it."""

import msgspec

from jobs.events import LoggedData, is_token, read_frame, token_text
from jobs.stream_log import StreamLog


class Kept(msgspec.Struct, frozen=True):
    """A lost attempt's events, and the attempt and seq of the last entry up to which this goes."""

    events: list[LoggedData]
    read_up_to: tuple[int, int]


async def kept_text(stream_log: StreamLog, generation_id: str, attempt: int) -> str:
    """The text of the newest attempt that wrote, up to this one; raises REDIS_FAILURES.

    An attempt that was claimed and wrote nothing leaves the log of the one before.
    """
    frames, _ = await _frames(stream_log, generation_id, attempt)
    return "".join([token_text(one) for one in frames if is_token(one)])


async def kept_events(stream_log: StreamLog, generation_id: str, attempt: int) -> Kept:
    """All its events, in the same way."""
    frames, read_up_to = await _frames(stream_log, generation_id, attempt)
    return Kept([read_frame(one)[1] for one in frames], read_up_to)


async def _frames(
    stream_log: StreamLog, generation_id: str, attempt: int
) -> tuple[list[bytes], tuple[int, int]]:
    wrote, _ = await stream_log.tail(generation_id)
    frames: list[bytes] = []
    first = 1
    while 0 < wrote <= attempt:
        page = await stream_log.read(generation_id, wrote, first)
        if page is None or not page.frames:
            break
        frames += [one for one in page.frames if one]
        first = page.last + 1
    return frames, (wrote, first - 1)
