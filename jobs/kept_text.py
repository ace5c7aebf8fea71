"""The text that readers of a lost attempt were shown: what the log in Redis still has of it."""

from jobs.events import is_token, token_text
from jobs.stream_log import StreamLog


async def kept_text(stream_log: StreamLog, generation_id: str, attempt: int) -> str:
    """The text of the newest attempt that wrote, up to this one; raises REDIS_FAILURES.

    An attempt that was claimed and wrote nothing leaves the log of the one before.
    """
    wrote, _ = await stream_log.tail(generation_id)
    texts: list[str] = []
    first = 1
    while 0 < wrote <= attempt:
        page = await stream_log.read(generation_id, wrote, first)
        if page is None or not page.frames:
            break
        texts += [token_text(one) for one in page.frames if one and is_token(one)]
        first = page.last + 1
    return "".join(texts)
