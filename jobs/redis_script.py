"""A Lua script that Redis knows by its digest: its text is sent only where it was forgotten."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.exceptions import NoScriptError

Execute = Callable[..., Awaitable[Any]]
"""Sends one command and gives its reply; raises REDIS_FAILURES."""


class Script:
    """This text, run by `execute`."""

    def __init__(self, text: str, execute: Execute) -> None:
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._execute = execute

    async def run(self, keys: Sequence[str], *arguments: bytes | str | int) -> Any:
        """The script's reply; raises REDIS_FAILURES."""
        given = (len(keys), *keys, *arguments)
        try:
            return await self._execute("EVALSHA", self._digest, *given)
        except NoScriptError:
            return await self._execute("EVAL", self._text, *given)
