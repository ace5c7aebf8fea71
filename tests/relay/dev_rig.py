"""A `persona-relay dev` as tests start it: in a folder and a world of its own, ended in the end."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.relay.test_child import alive
from tests.services import Child
from tests.services.waiting import until

PROGRAM = Path(sys.executable).with_name("persona-relay")
ROOT = Path(__file__).parents[2]
UP_SECONDS = 40.0
DOWN_SECONDS = 30.0
PARTS = {"valkey": "valkey-server", "model": "demo-model", "worker": "-m jobs", "relay": " serve "}
"""How each process shows in its command line."""
DROPPED = ("RELAY_", "OPENAI_", "MAKE", "MFLAGS", "ARGS")
"""Variables that a test starts without: settings of one's own, and those of a make above it."""


class Dev:
    """A `dev` that runs, and the processes that it started."""

    def __init__(self, child: Child, output: Path) -> None:
        self.child = child
        self.output = output

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.output.read_text()

    @property
    def url(self) -> str:
        """The one address that it printed."""
        urls: set[str] = set(re.findall(r"https?://[^\s\"]+", self.welcome))
        (url,) = urls
        return url

    @property
    def welcome(self) -> str:
        """What it says when it is up."""
        return self.text.partition("persona-relay is at")[1:][1].partition("Ctrl-C stops")[0]

    def wait_until_up(self) -> None:
        """Waits for the welcome."""
        until(
            lambda: "Ctrl-C stops everything" in self.text or self.child.exit_code is not None,
            within=UP_SECONDS,
        )
        assert self.child.exit_code is None, self.text

    def family(self) -> dict[int, str]:
        """Its children's command lines, by pid."""
        children = psutil.Process(self.child.pid).children(recursive=True)
        return {one.pid: " ".join(one.cmdline()) for one in children}

    def part(self, name: str) -> int:
        """The pid of one of PARTS."""
        (pid,) = [pid for pid, line in self.family().items() if PARTS[name] in line]
        return pid

    def is_whole(self) -> bool:
        """Whether each of PARTS is there; a child that was just forked is none of them yet."""
        lines = self.family().values()
        return all(any(part in line for line in lines) for part in PARTS.values())

    def ask(self, **fields: str) -> dict[str, Any]:
        """A generation that was just accepted."""
        body = {"kind": "chat", "input": "hello", **fields}
        answer = httpx.post(f"{self.url}/v1/generations", json=body, trust_env=False)
        assert answer.status_code == 202, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def read(self, id: str) -> dict[str, Any]:
        """A generation as it is now."""
        answer = httpx.get(f"{self.url}/v1/generations/{id}", trust_env=False)
        assert answer.status_code == 200, answer.text
        read: dict[str, Any] = answer.json()
        return read

    def hears(self, id: str, words: str) -> None:
        """Follows the generation until its readers were shown these words."""
        events = f"{self.url}/v1/generations/{id}/events"
        with httpx.stream("GET", events, trust_env=False, timeout=30) as answer:
            heard = ""
            for text in answer.iter_text():
                heard += text
                if words in heard:
                    return
        raise AssertionError(heard)

    def answers(self, path: str) -> bool:
        """Whether the relay answers this with 200."""
        try:
            return httpx.get(f"{self.url}{path}", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def wait_for(self, id: str, *states: str) -> dict[str, Any]:
        """Waits until the generation is in one of these states."""
        until(lambda: self.read(id)["state"] in states, within=30, every=0.05)
        return self.read(id)


StartDev = Callable[..., Dev]


def made_hard(folder: Path) -> dict[str, str]:
    """Variables with a proxy that is none; the folder gets packages with names like ours."""
    for name in ("jobs", "relay"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('hijacked')")
    kept = {n: text for n, text in os.environ.items() if not n.startswith(DROPPED)}
    nowhere = "http://127.0.0.1:1"
    return kept | {"http_proxy": nowhere, "HTTP_PROXY": nowhere, "ALL_PROXY": nowhere}


@contextmanager
def starting(folder: Path, environment: Mapping[str, str]) -> Iterator[StartDev]:
    """Start `dev` in this folder, on a port of its own choice; it is ended in the end."""
    started: list[Dev] = []

    def start(*, argv: tuple[str, ...] = (), **given: str) -> Dev:
        output = folder / f"out{len(started)}"
        words = argv or (str(PROGRAM), "dev", "--port", "0")
        env = {**environment, **given}
        started.append(Dev(Child(words, output=output, env=env, cwd=folder), output))
        return started[-1]

    try:
        yield start
    finally:
        for dev in started:
            dev.child.kill()


class Shared(Dev):
    """One that several tests look at, and the commands beside it."""

    def __init__(self, dev: Dev, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(dev.child, dev.output)
        self.folder = folder
        self.environment = environment

    def command(self, words: str) -> subprocess.CompletedProcess[str]:
        """Runs a line of shell in its folder."""
        return subprocess.run(
            ["sh", "-c", words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )


def gone(family: Mapping[int, str]) -> bool:
    """Whether none of these processes is there any more."""
    return not any(alive(pid) for pid in family)
