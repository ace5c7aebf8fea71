"""The openai SDK as a test drives it: strict, and without tries unless they are asked for."""

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from openai import AsyncOpenAI, OpenAI

P = ParamSpec("P")
R = TypeVar("R")


def settings_of(url: str, max_retries: int, key: str) -> dict[str, Any]:
    return {
        "api_key": key,
        "base_url": f"{url}/openai/v1",
        "max_retries": max_retries,
        "_strict_response_validation": True,
    }


def client_of(url: str, *, max_retries: int = 0, key: str = "none") -> Any:
    """The blocking client; close it. Of any type, for what it answers is unions of dozens."""
    return OpenAI(**settings_of(url, max_retries, key))


def async_client_of(url: str, *, max_retries: int = 0, key: str = "none") -> Any:
    """The client for asyncio; close it."""
    return AsyncOpenAI(**settings_of(url, max_retries, key))


async def in_thread(call: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    """What a blocking call gives."""
    return await asyncio.to_thread(call, *args, **named)


def generation_of(response_id: str) -> str:
    """The generation behind this response."""
    return response_id.replace("resp_", "gen_", 1)
