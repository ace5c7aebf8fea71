"""What readers of a lost attempt were shown: what the log in Redis still has of it."""

from jobs.events import LoggedData, is_token, read_frame, token_text
from jobs.stream_log import StreamLog


async def kept_text(stream_log: StreamLog, generation_id: str, attempt: int) -> str:
    """The text of the newest attempt that wrote, up to this one; raises REDIS_FAILURES.

    An attempt that was claimed and wrote nothing leaves the log of the one before.
    """
    frames = await _frames(stream_log, generation_id, attempt)
    return "".join([token_text(one) for one in frames if is_token(one)])


async def kept_events(stream_log: StreamLog, generation_id: str, attempt: int) -> list[LoggedData]:
    """All its events, in the same way."""
    return [read_frame(one)[1] for one in await _frames(stream_log, generation_id, attempt)]


async def _frames(stream_log: StreamLog, generation_id: str, attempt: int) -> list[bytes]:
    wrote, _ = await stream_log.tail(generation_id)
    frames: list[bytes] = []
    first = 1
    while 0 < wrote <= attempt:
        page = await stream_log.read(generation_id, wrote, first)
        if page is None or not page.frames:
            break
        frames += [one for one in page.frames if one]
        first = page.last + 1
    return frames
