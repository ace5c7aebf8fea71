"""Files as a zip, made while it is sent: one file in memory, and never the whole directory."""

import json
import zipfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

_EPOCH = (1980, 1, 1, 0, 0, 0)
MEMORY_BYTES = 4 << 20
"""What is held back beyond this waits on disk: the directory, which comes last, of a large zip."""
CHUNK_BYTES = 1 << 18


class _Sink:
    """What zipfile writes into; it can't be rewound, so zipfile writes sizes after the data."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def flush(self) -> None:
        """Nothing is to be done: `take` gives all that was written."""

    def take(self) -> Iterator[bytes]:
        """What was written since, in chunks."""
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            yield chunk
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        self._file.close()


class _Directory:
    """The list of entries that zipfile keeps until the end, in a file; half a kB each otherwise."""

    _KEPT = ("filename", "CRC", "compress_size", "file_size", "header_offset", "flag_bits")

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115
        self._count = 0

    def append(self, entry: zipfile.ZipInfo) -> None:
        line = json.dumps([getattr(entry, name) for name in self._KEPT])
        self._file.write(line.encode() + b"\n")
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[zipfile.ZipInfo]:
        self._file.seek(0)
        for line in self._file:
            filename, *values = json.loads(line)
            entry = _entry(filename)
            for name, value in zip(self._KEPT[1:], values, strict=True):
                setattr(entry, name, value)
            yield entry

    def close(self) -> None:
        self._file.close()


class _Forgetful(dict[str, Any]):
    """zipfile's second index of its entries, by name: it only finds doubles, and there are none."""

    def __setitem__(self, name: str, entry: Any) -> None:
        return


async def zip_stream(files: AsyncIterable[tuple[str, str]]) -> AsyncIterator[bytes]:
    """The bytes of a zip of these (path, content) pairs, in order; same input, same bytes.

    Each path comes once.
    """
    sink, directory = _Sink(), _Directory()
    try:
        with zipfile.ZipFile(cast(IO[bytes], sink), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.filelist = cast(list[zipfile.ZipInfo], directory)
            archive.NameToInfo = _Forgetful()
            async for path, content in files:
                archive.writestr(_entry(path), content.encode())
                for chunk in sink.take():
                    yield chunk
        for chunk in sink.take():
            yield chunk
    finally:
        directory.close()
        sink.close()


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, date_time=_EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
