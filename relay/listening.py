"""Where the relay listens: a socket that gives up on dead readers."""

import socket
from dataclasses import dataclass

from jobs.errors import JobsError

BACKLOG = 4096
SEND_BUFFER_BYTES = 65_536
"""What the kernel holds for a reader; its default of megabytes would hide one that never reads."""
DEAD_READER_MILLISECONDS = 30_000
"""After so long without an acknowledgement the kernel drops a reader with data in flight."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it: an address, for a name may mean another one."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class PortTaken(JobsError):
    """The address can't be listened on; carries it and the system's reason."""

    def __init__(self, address: Address, reason: str) -> None:
        super().__init__(f"can't listen on {address.host} port {address.port}: {reason}")
        self.address = address


def listen(address: Address) -> socket.socket:
    """A listening socket whose connections inherit the limits above. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_READER_MILLISECONDS
            )
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PortTaken(address, error.strerror or str(error)) from None
    return listener


def listening_at(listener: socket.socket, host: str) -> Address:
    """The address that the socket got, with the host as it was asked for."""
    return Address(host, listener.getsockname()[1])
