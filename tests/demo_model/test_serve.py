"""The server as a process of its own: one line at its start, an orderly end at once."""

import re
import signal
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest

from relay.demo_model import serve
from tests.demo_model.asking import body_of
from tests.services.child import Child
from tests.services.waiting import until

SERVE = "from relay.demo_model import serve; serve('127.0.0.1', 0)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_answers_open(number: signal.Signals, tmp_path: Path) -> None:
    with Child([sys.executable, "-c", SERVE], output=tmp_path / "out") as child:
        until(lambda: child.text().endswith("\n"))
        address = re.fullmatch(
            r"scripted demo model, no LLM: (http://127\.0\.0\.1:\d+/v1)\n", child.text()
        )
        assert address, child.text()
        url = f"{address[1]}/chat/completions"
        with httpx.stream("POST", url, json=body_of("demo-silent")) as answer:
            assert answer.status_code == 200
            began = time.monotonic()
            child.signal(number)
            assert child.wait() == 0
            assert time.monotonic() - began < 5
            with pytest.raises(httpx.RemoteProtocolError):
                answer.read()
        assert child.text() == address[0]


def test_an_address_in_use_is_an_error_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        serve("127.0.0.1", taken.getsockname()[1])
