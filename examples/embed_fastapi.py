"""A FastAPI app with a sign-in of its own, which shows each of its users what is theirs below /ai.

export RELAY_SECRET=… RELAY_MODEL=…  # and the rest as for `persona-relay serve`
persona-relay migrate && persona-relay worker &
uvicorn embed_fastapi:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.requests import Request

from relay.app import create_app
from relay.auth import Access, access_of

USERS = {"key-of-ann": "ann", "key-of-bob": "bob"}


async def who_asks(request: Request) -> Access | None:
    """The app's own sign-in, a key here: whose generations a request may start and read."""
    user = USERS.get(request.headers.get("x-api-key", ""))
    return None if user is None else access_of(user, "generate")


relay = create_app(authenticate=who_asks)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """A host does not run the lifespan of what it mounts."""
    async with relay.router.lifespan_context(relay):
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/ai", relay)
