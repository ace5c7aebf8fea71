"""Read deploy/nginx.conf: its directives, and a copy that runs before a relay of the test's own."""

import re
from collections.abc import Iterable
from pathlib import Path

PATH = Path(__file__).parents[2] / "deploy" / "nginx.conf"


def directives() -> dict[str, list[str]]:
    """Give what each simple directive of the file is set to, in order."""
    plain = re.sub(r"#.*", "", PATH.read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"([a-z_0-9]+)\s+([^;{}]+);", plain):
        found.setdefault(name, []).append(value.strip())
    return found


def seconds(value: str) -> int:
    """Give nginx's time, such as `60s`, in seconds; ValueError for any other unit."""
    return int(value.removesuffix("s"))


def written_for_a_test(directory: Path, relay_ports: Iterable[int], port: int) -> Path:
    """Write a copy that listens on `port` of the loopback interface, with known relays behind.

    Only addresses and places of files differ: looking names up again needs a name server.
    """
    text = PATH.read_text(encoding="utf-8").replace("/tmp/", f"{directory}/")
    servers = "\n".join(rf"server 127.0.0.1:{relay} \1;" for relay in relay_ports)
    for pattern, replacement in (
        (r"resolver .*;", ""),
        (r"server relay:8000 resolve (.*);", servers),
        (r"listen 8080 ", f"listen 127.0.0.1:{port} "),
        (r"access_log /dev/stdout ", f"access_log {directory}/access.log "),
    ):
        text, count = re.subn(pattern, replacement, text)
        if count != 1:
            raise ValueError(f"{pattern} stands {count} times in {PATH.name}")
    copy = directory / "nginx.conf"
    copy.write_text(text, encoding="utf-8")
    return copy
