"""A TLS front before a plain server, for tests alone: its key is public and worth nothing."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

# Self-signed for "localhost" and no other name, until the year 2120.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBnDCCAUKgAwIBAgIUbAFnfVT2zvU+/aHWBJCynPPF53QwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVdGVzdCBvZiBwZXJzb25hLXJlbGF5MCAXDTIwMDEwMTAwMDAw
MFoYDzIxMjAwMTAxMDAwMDAwWjAgMR4wHAYDVQQDDBV0ZXN0IG9mIHBlcnNvbmEt
cmVsYXkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATSOVKyW/c1/YAXfBs7DKVZ
rMAYcK1F8UeBYgCM8Z0nBKO1UCMTJh19RM3vki37tmLpe5C0hgK/6YgGwmMSWR+n
o1gwVjAUBgNVHREEDTALgglsb2NhbGhvc3QwDwYDVR0TAQH/BAUwAwEB/zAdBgNV
HQ4EFgQUnCrLkZ/VWOQnsKVr3n/5RtPLTQQwDgYDVR0PAQH/BAQDAgKEMAoGCCqG
SM49BAMCA0gAMEUCIAi8ayyG8FhWSEON63+i6XLD4YF3mDjtLkdPVWCMzdcWAiEA
8+yl7i09VvYyZaXIkopLAqMR0isVofI8lu4czsdMhBw=
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgCyjIYn8fZv3QXkqo
ZgGinKiaIJh/s7PujZSIJpBncmShRANCAATSOVKyW/c1/YAXfBs7DKVZrMAYcK1F
8UeBYgCM8Z0nBKO1UCMTJh19RM3vki37tmLpe5C0hgK/6YgGwmMSWR+n
-----END PRIVATE KEY-----
"""


@asynccontextmanager
async def tls_front(url: str, directory: Path) -> AsyncIterator[tuple[int, Path]]:
    """The port of a TLS server on 127.0.0.1 before the one that the URL names, and its CA file."""
    behind = urlsplit(url)
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    serving: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            there, back = await asyncio.open_connection(behind.hostname, behind.port)
            await asyncio.gather(carry(reader, back), carry(there, writer))
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], certificate
    finally:
        server.close()
        for task in tuple(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
