"""A server of a test finds its port free again, however long it was down."""

import socket

from tests.services import free_port


def test_a_free_port_is_none_that_a_connection_is_given() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        connections = [socket.create_connection(server.getsockname()) for _ in range(50)]
        given = {one.getsockname()[1] for one in connections}
        for one in connections:
            one.close()
    assert max(free_port() for _ in range(100)) < min(given)


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == len(ports)
