"""A PostgreSQL server of the tests' own: Debian's, on a free port, in a folder that goes with it."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

__all__ = ["Postgres"]

#: PostgreSQL refuses to run as root.
_USER = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
_SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
full_page_writes = off
autovacuum = off
shared_buffers = 32MB
max_connections = 100
"""


class Postgres:
    """A running server. Whoever reaches it is let in as the superuser ``liveman``, without a password."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.port = _free_port()
        self._names = count()
        self._bin = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))

    @classmethod
    @contextmanager
    def running(cls) -> Iterator["Postgres"]:
        server = cls(tempfile.mkdtemp(prefix="liveman-postgres-"))
        server._initialise()
        with server._ended_with_us():
            server.start()
            yield server

    def url(self, database: str, *, port: int | None = None, login: str = "liveman") -> str:
        """``port``: of who stands in between."""
        return f"postgresql://{login}@127.0.0.1:{port or self.port}/{database}"

    @contextmanager
    def schema(self) -> Iterator[str]:
        """A place of its own within one database, which costs less than one; gives its URL."""
        name = f"test_{next(self._names)}"
        self.sql(f"CREATE SCHEMA {name}")
        try:
            yield f"{self.url('postgres')}?options=-csearch_path%3D{name}"
        finally:
            self.sql(f"DROP SCHEMA {name} CASCADE")

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new database; gives its name."""
        name = f"test_{next(self._names)}"
        self.sql(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[str, ...]]:
        """What a statement gives, as text."""
        command = [self._bin / "psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-F", "\x1f", "-h", self.folder]
        command += ["-p", str(self.port), "-U", "liveman", "-d", database, "-c", statement]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return [tuple(line.split("\x1f")) for line in done.stdout.splitlines()]

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-s", "-D", self._data, "-l", f"{self.folder}/log")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "-w", "-s", "-D", self._data, "-m", mode)

    def keep(self, name: str, content: bytes) -> None:
        """Put a file into the folder of its data, readable for itself alone."""
        path = f"{self._data}/{name}"
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o600)
        if _USER:
            shutil.chown(path, "postgres")

    @property
    def pid(self) -> int:
        """The process of the server, which has one more for each connection."""
        return int(Path(self._data, "postmaster.pid").read_text().split()[0])

    @property
    def _data(self) -> str:
        return f"{self.folder}/data"

    @contextmanager
    def _ended_with_us(self) -> Iterator[None]:
        """The server goes when the context is left, and also when this process is killed: then a pipe ends."""
        stop = f"cat >/dev/null; {self._bin}/pg_ctl stop -s -w -m immediate -D {self._data}; rm -rf {self.folder}"
        keeper = subprocess.Popen(
            [*_USER, "sh", "-c", stop],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        try:
            yield
        finally:
            keeper.communicate(timeout=60)

    def _initialise(self) -> None:
        if _USER:
            shutil.chown(self.folder, "postgres")
            os.chmod(self.folder, 0o755)
        self._run("initdb", "-D", self._data, "-U", "liveman", "-A", "trust", "-E", "UTF8", "--no-sync")
        own = f"port = {self.port}\nunix_socket_directories = '{self.folder}'\n"
        with open(f"{self._data}/postgresql.conf", "a") as file:
            file.write(_SETTINGS + own)

    def _run(self, command: str, *arguments: str) -> None:
        # Not the caller's pipes: the server would keep them open.
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                [*_USER, str(self._bin / command), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                timeout=60,
                check=False,
            )
            said.seek(0)
            assert done.returncode == 0, said.read().decode()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
