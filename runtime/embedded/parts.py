"""PostgreSQL and NATS alone, for tests of one service. Invariant: when `stop` returns, neither runs."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.embedded.databases import (
    DATABASES,
    READONLY_ROLE,
    create_databases,
    owner_of,
    recreate_database,
)
from runtime.embedded.errors import EmbeddedError
from runtime.embedded.keys import Keys
from runtime.embedded.layout import DirectoryLock, Layout
from runtime.embedded.nats import Nats
from runtime.embedded.placement import external_folder
from runtime.embedded.ports import PortBook
from runtime.embedded.postgres import ADMINISTRATOR, Postgres, PostgresOptions
from runtime.embedded.process_group import ProcessGroup
from runtime.embedded.state import ProcessStatus, StateFile, end_leftovers

_POSTGRES_RANK = 0
_NATS_RANK = 1
_PARTS = (Postgres.name, Nats.name)


class Parts:
    """The parts on one data directory; use it as a context manager, or call `start` and `stop`.

    Ports are remembered: a second start on the same folder gives the same addresses. Every method may be
    called from any thread. A parent that is killed takes the parts with it.
    """

    def __init__(
        self,
        data_directory: Path,
        *,
        postgres: PostgresOptions | None = None,
        ports: Mapping[str, int] | None = None,
        on_progress: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.layout = Layout(data_directory)
        self.keys = Keys(self.layout.keys)
        self.ports = PortBook(self.layout.ports_file, fixed=ports)
        self.state = StateFile(self.layout)
        self.group = ProcessGroup(state=self.state, on_progress=on_progress)
        self._options = postgres or PostgresOptions()
        self._on_progress = on_progress
        self._lock = DirectoryLock(self.layout.data_directory)
        self._owner_pid: int | None = None
        self._postgres: Postgres | None = None
        self._nats: Nats | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start both and create the databases. Idempotent while running.

        Raises DirectoryInUse when another process runs on the data directory, ProcessFailed when a part does
        not come up; then nothing is left running.
        """
        if self._owner_pid is not None:
            return
        self._lock.acquire()
        self._owner_pid = os.getpid()
        atexit.register(self._stop_at_exit)
        try:
            end_leftovers(self.layout, on_progress=self._on_progress)
            self.group.open()
            self._describe()
            self.group.start(_PARTS)
            create_databases(self._administrator_url("postgres"), password_of=self.keys.password)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop whatever of the group runs, parts last, and give lock and ports back. Idempotent."""
        if self._owner_pid is None:
            return
        try:
            self.group.stop_all()
        finally:
            self.state.remove()
            self.ports.close()
            self._lock.release()
            self._owner_pid = None
            atexit.unregister(self._stop_at_exit)

    def remove(self) -> None:
        """Stop, then delete the data directory and what was placed outside of it."""
        self.stop()
        outside = external_folder(self.layout)
        if outside is not None:
            shutil.rmtree(outside, ignore_errors=True)
        shutil.rmtree(self.layout.data_directory, ignore_errors=True)

    @property
    def is_started(self) -> bool:
        """Whether this object holds the data directory now."""
        return self._owner_pid is not None

    @property
    def nats_url(self) -> str:
        """URL of the bus, with user and password."""
        return self._started_nats().url

    @property
    def database_urls(self) -> dict[str, str]:
        """SQLAlchemy URL of each service's database, as its owner, by service name."""
        return {name: self._url(name, owner_of(name)) for name in DATABASES}

    @property
    def readonly_database_urls(self) -> dict[str, str]:
        """SQLAlchemy URL of each service's database, as the role that reads all of them."""
        return {name: self._url(name, READONLY_ROLE) for name in DATABASES}

    def recreate_database(self, name: str) -> None:
        """Empty one service's database by dropping and creating it; ends its connections."""
        if name not in DATABASES:
            raise EmbeddedError(f"there is no database {name!r}; there are {', '.join(DATABASES)}")
        recreate_database(self._administrator_url("postgres"), name)

    def start_process(self, name: str) -> None:
        """Start one process that is not running, on its port, and wait until it answers."""
        self.group.start([name])

    def stop_process(self, name: str) -> None:
        """Stop one process in order; the others stay."""
        self.group.stop(name)

    def restart(self, name: str) -> None:
        """Stop one process in order and start it again on its port, with its environment."""
        self.group.stop(name)
        self.group.start([name])

    def kill(self, name: str, signal_number: signal.Signals = signal.SIGKILL) -> None:
        """End one process as an accident would; returns when it is gone."""
        self.group.kill(name, signal_number)

    def wipe_nats(self) -> None:
        """Stop NATS, delete every stream and message, start it again on the same port."""
        self.group.stop(Nats.name)
        self._started_nats().delete_data()
        self.group.start([Nats.name])

    def status(self) -> dict[str, ProcessStatus]:
        """The status of every process, by name."""
        return self.group.status()

    def _describe(self) -> None:
        self._postgres = Postgres(
            self.layout,
            port=self.ports.claim(Postgres.name),
            administrator_password=self.keys.password(ADMINISTRATOR),
            options=self._options,
        )
        self._nats = Nats(
            self.layout, port=self.ports.claim(Nats.name), password=self.keys.password(Nats.name)
        )
        self.group.add(self._postgres.plan(), rank=_POSTGRES_RANK)
        self.group.add(self._nats.plan(), rank=_NATS_RANK)

    def _url(self, database: str, role: str) -> str:
        postgres = self._started_postgres()
        return postgres.url(database=database, role=role, password=self.keys.password(role))

    def _administrator_url(self, database: str) -> str:
        return self._started_postgres().url(
            database=database, role=ADMINISTRATOR, password=self.keys.password(ADMINISTRATOR), driver=""
        )

    def _started_postgres(self) -> Postgres:
        if self._postgres is None:
            raise EmbeddedError("PostgreSQL is not started")
        return self._postgres

    def _started_nats(self) -> Nats:
        if self._nats is None:
            raise EmbeddedError("NATS is not started")
        return self._nats

    def _stop_at_exit(self) -> None:
        if self._owner_pid == os.getpid():
            with contextlib.suppress(EmbeddedError):
                self.stop()
