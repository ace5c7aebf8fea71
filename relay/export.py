"""A persona's files as a zip, made while it is sent: never more than one file in memory."""

import zipfile
from collections.abc import AsyncIterable, AsyncIterator
from typing import IO, cast

_EPOCH = (1980, 1, 1, 0, 0, 0)


class _Sink:
    """What zipfile writes into; it can't be rewound, so zipfile writes sizes after the data."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


async def zip_stream(files: AsyncIterable[tuple[str, str]]) -> AsyncIterator[bytes]:
    """The bytes of a zip of these (path, content) pairs, in order; same input, same bytes."""
    sink = _Sink()
    with zipfile.ZipFile(cast(IO[bytes], sink), "w", zipfile.ZIP_DEFLATED) as archive:
        async for path, content in files:
            entry = zipfile.ZipInfo(path, date_time=_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content.encode())
            yield sink.take()
    yield sink.take()
