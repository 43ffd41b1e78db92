"""A real PostgreSQL for tests and measurements: a cluster of its own in a temporary folder, on a socket in there.

It can be killed and started again. PostgreSQL refuses to run as root, so then it runs as Debian's user `postgres`.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.waiting import until

_DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
_ON_PATH = shutil.which("initdb")
PROGRAMS = Path(_ON_PATH).parent if _ON_PATH else _DEBIAN[-1] if _DEBIAN else None
"""Where initdb and postgres are; None where PostgreSQL is not installed. Debian keeps them off PATH."""

_SETTINGS = {"listen_addresses": "", "fsync": "on", "synchronous_commit": "on", "max_connections": "50"}


class Postgres:
    """One cluster, in the same place however often it is started."""

    def __init__(self, **settings: str) -> None:
        assert PROGRAMS is not None
        self._as: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        if self._as:
            shutil.chown(self._folder, **self._as)
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self.log = self._folder / "log"
        self._run("initdb", "--pgdata", "data", "--auth=trust", "--username=postgres", "--no-sync", "--locale=C.UTF-8")
        with (self._folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in {**_SETTINGS, **settings}.items())

    def start(self) -> "Postgres":
        """Start it, and wait until it takes connections."""
        assert PROGRAMS is not None
        command = [str(PROGRAMS / "postgres"), "-D", "data", "-k", str(self._folder)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, **self._as)
        until(self._answers, 30.0, what=f"PostgreSQL answers: {self.log.read_text()}")
        return self

    @property
    def pid(self) -> int:
        """The first process's; all others are its children."""
        assert self._process is not None
        return self._process.pid

    def new_database(self) -> str:
        """Make an empty database; the answer is its address."""
        self._made += 1
        name = f"city{self._made}"
        with closing(self._connected()) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def kill(self) -> None:
        """End it at once, as a power cut would as far as it can tell: no check point, no good-bye."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30.0)

    def close(self) -> None:
        """End it and remove all it had."""
        self.kill()
        shutil.rmtree(self._folder)

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError), closing(self._connected()):
            return True
        return False

    def _connected(self) -> psycopg.Connection:
        return psycopg.connect(f"host={self._folder} user=postgres dbname=postgres", autocommit=True)

    def _run(self, name: str, *arguments: str) -> None:
        assert PROGRAMS is not None
        subprocess.run(
            [str(PROGRAMS / name), *arguments], cwd=self._folder, check=True, stdout=subprocess.DEVNULL, **self._as
        )
