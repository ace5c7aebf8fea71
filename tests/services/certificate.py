"""A certificate for servers on this machine, for tests alone: its key is public, worth nothing."""

from pathlib import Path

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


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """Write both; the certificate's file, which is its own authority, and the key's."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    certificate.write_text(CERTIFICATE, encoding="utf-8")
    key.write_text(KEY, encoding="utf-8")
    key.chmod(0o600)
    return certificate, key
