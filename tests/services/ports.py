"""Free ports of the loopback interface."""

import random
import socket
from pathlib import Path

LOWEST = 15_000
"""Above every port that browsers refuse to ask."""
CONNECTIONS_FROM = 32_768
GIVEN_TO_CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")

# Not the seeded one: two runs with one seed would choose the same.
_random = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that nothing listens on, and none twice.

    It is none that an outgoing connection may be given: that would keep a server that is down for
    a moment from coming back to its port.
    """
    while True:
        port = _random.randrange(LOWEST, _first_of_connections())
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port


def _first_of_connections() -> int:
    if GIVEN_TO_CONNECTIONS.exists():
        return int(GIVEN_TO_CONNECTIONS.read_text().split()[0])
    return CONNECTIONS_FROM
