"""The image's steps, done by hand: what they build runs as it says, and holds nothing else."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.dockerfile import ROOT, Stage, stages
from tests.services import Child, free_port
from tests.services.waiting import until

BUILD, IMAGE = stages()
MOST_MIB = 220
KEPT = ("HOME", "PATH", "LANG", "PIP_CERT", "PIP_FIND_LINKS", "SSL_CERT_FILE", "HTTPS_PROXY")


@pytest.fixture(scope="module")
def app() -> Iterator[Path]:
    """What stands at /app once the first stage is built: copied and synced as it says."""
    # Not below pytest's own folder, which is closed to the user that the image runs as.
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    folder.chmod(0o755)
    try:
        for name, text in BUILD.steps:
            if name == "COPY":
                *sources, target = text.split()
                for source in sources:
                    copy(ROOT / source, folder / target)
            elif name == "RUN" and "uv sync" in text:
                subprocess.run(["sh", "-ec", text], cwd=folder, env=building(BUILD), check=True)
        yield folder
    finally:
        shutil.rmtree(folder)


def copy(source: Path, target: Path) -> None:
    """Do what COPY does: a folder's content into the target, a file into it or as it."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def building(stage: Stage) -> dict[str, str]:
    """The stage's own environment, with the project's uv and this machine's cache of packages."""
    given = {name: os.environ[name] for name in KEPT if name in os.environ}
    own = {n: value for n, value in stage.environment.items() if n.startswith("UV_")}
    # Bytecode and a cold cache are the image's affair, and cost minutes here.
    own |= {"UV_COMPILE_BYTECODE": "0", "UV_NO_CACHE": "0", "UV_PYTHON": sys.executable}
    tools = Path(sys.executable).parent
    return given | own | {"PATH": f"{tools}:{given['PATH']}"}


def who(app: Path) -> str | None:
    """Somebody without rights, as in the image, if such a user can run this Python; None = us."""
    if os.geteuid() != 0:
        return None
    python = app / ".venv/bin/python"
    try:
        subprocess.run([python, "-c", ""], user="nobody", check=True)
    except (PermissionError, subprocess.CalledProcessError):
        # This Python lies in a home that is closed to others.
        return None
    return "nobody"


def test_the_image_holds_what_runs_and_nothing_that_tests(app: Path) -> None:
    [packages] = (app / ".venv/lib").glob("python3*/site-packages")
    names = {path.name for path in packages.iterdir()}
    assert {"relay", "jobs", "persona_apply", "uvicorn", "asyncpg"} <= names
    assert not {"pytest", "mypy", "ruff", "hypothesis", "playwright", "tests"} & names
    # Not an editable install: the sources are not in the last stage.
    assert (packages / "relay/web/index.html").is_file()
    size = sum(path.lstat().st_size for path in (app / ".venv").rglob("*") if path.is_file())
    assert size < MOST_MIB << 20


def test_the_last_stage_takes_the_environment_alone_and_runs_as_its_user() -> None:
    assert [text for name, text in IMAGE.steps if name == "COPY"] == [
        "--from=build /app/.venv /app/.venv"
    ]
    assert "--uid 10001" in IMAGE.steps[1][1]
    names = [name for name, _ in IMAGE.steps]
    assert names.index("USER") > names.index("COPY")
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "alpine" in BUILD.base or "slim" in BUILD.base
    assert IMAGE.base == BUILD.base.removesuffix(" AS build")


def test_it_migrates_serves_says_that_it_is_healthy_and_stops_in_order(
    app: Path, redis_url: str
) -> None:
    user, port = who(app), free_port()
    with tempfile.TemporaryDirectory(prefix="home-") as name:
        home = Path(name)
        journal = home / "journal"
        journal.mkdir()
        for path in (home, journal):
            path.chmod(0o755)
            if user is not None:
                shutil.chown(path, user)
        environment = {
            **IMAGE.environment,
            "PATH": f"{app}/.venv/bin:/usr/bin:/bin",
            "HOME": str(home),
            "RELAY_JOURNAL_DIR": str(journal),
            "RELAY_DATABASE_URL": f"sqlite+aiosqlite:///{home}/relay.db",
            "RELAY_REDIS_URL": redis_url,
            "RELAY_SECRET": "of the test",
        }
        entry = IMAGE.argv("ENTRYPOINT")
        before = files_of(app)

        def run(*argv: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                argv, env=environment, cwd=home, user=user, capture_output=True, text=True,
                check=False, timeout=50,
            )  # fmt: skip

        migrated = run(*entry, "migrate")
        assert migrated.returncode == 0, migrated.stderr
        healthy = [word.replace(":8000", f":{port}") for word in IMAGE.argv("HEALTHCHECK")]
        assert run(*healthy).returncode != 0
        argv = [f"{app}/.venv/bin/{entry[0]}", *IMAGE.argv("CMD"), "--port", str(port)]
        output = home.with_suffix(".log")
        with Child(argv, output=output, env=environment, cwd=home, user=user) as child:
            until(
                lambda: "relay is ready" in child.text() or child.exit_code is not None, within=40
            )
            asked = run(*healthy)
            assert asked.returncode == 0, asked.stderr + child.text()
            assert child.terminate() == 0
        output.unlink()
        # A container's file system is read-only: nothing may be written but at home.
        assert files_of(app) == before


def files_of(app: Path) -> set[Path]:
    """Every file of the image's environment."""
    return set((app / ".venv").rglob("*"))
