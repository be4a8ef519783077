"""The whole center as child processes: parts, telemetry, sandbox and the four servers.

Invariant: a process that is started again has the port and the environment that it had before; when `stop`
returns, or the owner dies, nothing is left.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.embedded.child_process import Command
from runtime.embedded.databases import DATABASES
from runtime.embedded.endpoints import Endpoints
from runtime.embedded.errors import EmbeddedError
from runtime.embedded.managed_process import ProcessPlan
from runtime.embedded.parts import Parts
from runtime.embedded.ports import LOOPBACK
from runtime.embedded.postgres import PostgresOptions
from runtime.embedded.servers import (
    ACCOUNTING,
    CHANNEL,
    NOTICE_PORT,
    PAYMENT,
    PORT_NAMES,
    SANDBOX,
    SERVICES,
    TELEMETRY,
    TRANSACTION,
    ServerSpecification,
    Surroundings,
    center_servers,
    metrics_port_of,
)
from runtime.embedded.span_writer import DEFAULT_ROWS_CAP
from runtime.embedded.state import ProcessStatus
from runtime.embedded.supervisor import Supervisor

_IMPORT_ROOT = Path(__file__).resolve().parents[2]
_EXTRA_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """How a center is run.

    `environment` is added to every server's, `environment_of` to that of the one named; both win over what
    the stack itself sets. `ports` fixes ports by name (`transaction`, `sandbox`, `postgres`, ...); the others
    are chosen once and remembered. A `log_level` of None keeps the servers' default.
    """

    trace_sample_ratio: float = 1.0
    drain_grace_seconds: float = 10.0
    log_level: str | None = None
    start_timeout_seconds: float = 90.0
    postgres: PostgresOptions = field(default_factory=PostgresOptions)
    ports: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    kept_spans: int = DEFAULT_ROWS_CAP


class Stack:
    """One center on one data directory; use it as a context manager, or call `start` and `stop`.

    Process names: postgres, nats, telemetry, sandbox, transaction, payment, channel, accounting. Servers get
    SIGTERM when the owner of the stack dies, and drain; with `supervise` those that crash are started again.
    """

    def __init__(
        self,
        data_directory: Path,
        *,
        options: StackOptions | None = None,
        supervise: bool = False,
        on_progress: Callable[[str], None] = lambda _text: None,
        servers: Sequence[ServerSpecification] | None = None,
    ) -> None:
        self._options = options or StackOptions()
        self._parts = Parts(
            data_directory,
            postgres=self._options.postgres,
            ports=self._options.ports,
            on_progress=on_progress,
        )
        self._on_progress = on_progress
        self._servers = center_servers() if servers is None else tuple(servers)
        self._environment_of = {name: dict(own) for name, own in self._options.environment_of.items()}
        self._is_supervised = supervise
        self._supervisor: Supervisor | None = None
        self._endpoints: Endpoints | None = None

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

    @property
    def data_directory(self) -> Path:
        """The folder that holds everything that the center keeps."""
        return self._parts.layout.data_directory

    @property
    def endpoints(self) -> Endpoints:
        """Where everything listens; raises EmbeddedError before the start."""
        if self._endpoints is None:
            raise EmbeddedError("the center is not started")
        return self._endpoints

    def start(self) -> None:
        """Start everything and wait until all of it answers. Idempotent while running.

        Raises DirectoryInUse when another process runs a center on the data directory, and ProcessFailed,
        with the last lines of its log, when a process does not come up; then nothing is left running.
        """
        if self._parts.is_started:
            return
        self._parts.start()
        try:
            self._describe()
            self._parts.group.start([server.name for server in self._servers])
            if self._is_supervised:
                self._supervisor = Supervisor(self._parts.group, on_progress=self._on_progress)
                self._supervisor.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything: servers from the top down, each drained, then NATS, then PostgreSQL. Idempotent."""
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        self._parts.stop()

    def remove(self) -> None:
        """Stop, then delete the data directory and what was placed outside of it."""
        self.stop()
        self._parts.remove()

    def status(self) -> dict[str, ProcessStatus]:
        """The status of every process, by name."""
        return self._parts.status()

    def start_process(self, name: str) -> None:
        """Start one process that is not running, and wait until it answers. Idempotent."""
        self._parts.start_process(name)

    def stop_process(self, name: str) -> None:
        """Stop one process in order; the others stay, and no supervisor starts it again. Idempotent."""
        self._parts.stop_process(name)

    def restart(self, name: str, *, environment: Mapping[str, str] | None = None) -> None:
        """Stop one process in order and start it on the same port.

        `environment` is added to what the process gets, from now on.
        """
        if environment is not None:
            self.add_environment(name, environment)
        self._parts.restart(name)

    def kill(self, name: str, signal_number: signal.Signals = signal.SIGKILL) -> None:
        """End one process as an accident would; returns when it is gone. It stays down unless supervised."""
        self._parts.kill(name, signal_number)

    def wipe_nats(self) -> None:
        """Stop NATS, delete every stream and message, start it again on the same port."""
        self._parts.wipe_nats()

    def add_environment(self, name: str, environment: Mapping[str, str]) -> None:
        """Add variables to what a server gets at its next starts."""
        self._environment_of.setdefault(name, {}).update(environment)

    def _describe(self) -> None:
        parts = self._parts
        ports = {name: parts.ports.claim(name) for name in PORT_NAMES}
        parts.keys.make_callback_signing_key()
        self._endpoints = _endpoints(parts, ports)
        parts.state.endpoints = self._endpoints.to_json()
        surroundings = Surroundings(
            endpoints=self._endpoints, ports=ports, keys=parts.keys, layout=parts.layout
        )
        for server in self._servers:
            parts.group.add(self._plan(server, surroundings), rank=server.rank)

    def _plan(self, server: ServerSpecification, surroundings: Surroundings) -> ProcessPlan:
        return ProcessPlan(
            name=server.name,
            port=surroundings.ports[server.name],
            command=lambda: self._command(server, surroundings),
            ready=lambda: server.ready(surroundings.ports),
            stop_steps=((signal.SIGTERM, self._options.drain_grace_seconds + _EXTRA_STOP_SECONDS),),
            start_timeout_seconds=self._options.start_timeout_seconds,
        )

    def _command(self, server: ServerSpecification, surroundings: Surroundings) -> Command:
        layout = surroundings.layout
        arguments = [sys.executable, *server.arguments]
        if server.name == TELEMETRY:
            arguments += ["--port", str(surroundings.ports[TELEMETRY]), "--file", str(layout.trace_file)]
            arguments += ["--rows-cap", str(self._options.kept_spans)]
        return Command(
            name=server.name,
            arguments=arguments,
            environment=self._environment(server, surroundings),
            working_directory=_IMPORT_ROOT,
            log_file=layout.log_file(server.name),
            death_signal=server.death_signal,
        )

    def _environment(self, server: ServerSpecification, surroundings: Surroundings) -> dict[str, str]:
        options = self._options
        common = {
            "PYTHONUNBUFFERED": "1",
            "PAYCENTER_HOST": LOOPBACK,
            "PAYCENTER_DATA_DIRECTORY": str(surroundings.layout.data_directory),
            "PAYCENTER_TRACE_SAMPLE_RATIO": str(options.trace_sample_ratio),
            "PAYCENTER_DRAIN_GRACE_SECONDS": str(options.drain_grace_seconds),
        }
        if options.log_level is not None:
            common["PAYCENTER_LOG_LEVEL"] = options.log_level
        return {
            **os.environ,
            **_no_proxy_for_loopback(),
            **common,
            **server.environment(surroundings),
            **options.environment,
            **self._environment_of.get(server.name, {}),
        }


def _endpoints(parts: Parts, ports: Mapping[str, int]) -> Endpoints:
    return Endpoints(
        transaction_target=f"{LOOPBACK}:{ports[TRANSACTION]}",
        payment_target=f"{LOOPBACK}:{ports[PAYMENT]}",
        channel_target=f"{LOOPBACK}:{ports[CHANNEL]}",
        accounting_target=f"{LOOPBACK}:{ports[ACCOUNTING]}",
        notice_base_url=f"http://{LOOPBACK}:{ports[NOTICE_PORT]}",
        sandbox_base_url=f"http://{LOOPBACK}:{ports[SANDBOX]}",
        nats_url=parts.nats_url,
        telemetry_otlp_endpoint=f"http://{LOOPBACK}:{ports[TELEMETRY]}",
        trace_file=parts.layout.trace_file,
        callback_public_key_file=parts.keys.callback_public_key_file,
        database_urls={name: parts.database_urls[name] for name in DATABASES},
        readonly_database_urls={name: parts.readonly_database_urls[name] for name in DATABASES},
        metrics_urls={name: f"http://{LOOPBACK}:{ports[metrics_port_of(name)]}/metrics" for name in SERVICES},
    )


def _no_proxy_for_loopback() -> dict[str, str]:
    """A proxy of the user's must not stand between processes of one machine."""
    merged: dict[str, str] = {}
    for name in ("no_proxy", "NO_PROXY"):
        present = os.environ.get(name, "")
        merged[name] = ",".join(part for part in (present, LOOPBACK, "localhost") if part)
    return merged
