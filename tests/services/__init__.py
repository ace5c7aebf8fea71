"""Real services for tests: servers on free ports, child processes and a faulty network."""

from tests.services.child import Child
from tests.services.live_server import live_server
from tests.services.ports import free_port
from tests.services.postgres_server import PostgresServer
from tests.services.proxy import DelayingProxy
from tests.services.redis_server import RedisServer
from tests.services.waiting import eventually
from tests.services.wire import Direction, Passage, Trap

__all__ = [
    "Child",
    "DelayingProxy",
    "Direction",
    "Passage",
    "PostgresServer",
    "RedisServer",
    "Trap",
    "eventually",
    "free_port",
    "live_server",
]
