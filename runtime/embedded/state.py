"""What runs on a data directory, written for other processes to read.

Invariant: a pid in the file is believed only together with the time at which that process was created, so a
number that the system gave to another program is never mistaken for ours.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from runtime.embedded.files import write_private
from runtime.embedded.layout import DirectoryLock, Layout
from runtime.embedded.managed_process import ManagedProcess

_SAME_PROCESS_SECONDS = 2.0
_OWN_END_SECONDS = 15.0
_ASKED_END_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One process as it is now; `exit_code` is of its latest run and None while it runs."""

    name: str
    pid: int | None
    port: int
    is_running: bool
    exit_code: int | None
    started_time: datetime | None
    restart_count: int
    log_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStatus:
    """A data directory as seen from outside; `is_running` says whether its owner lives."""

    is_running: bool
    owner_pid: int | None
    processes: tuple[ProcessStatus, ...]


class StateFile:
    """Writes the state of one running stack."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.endpoints: Mapping[str, Any] | None = None

    def status_of(self, process: ManagedProcess) -> ProcessStatus:
        """The status of one process."""
        return ProcessStatus(
            name=process.name,
            pid=process.pid,
            port=process.plan.port,
            is_running=process.is_running,
            exit_code=process.exit_code,
            started_time=process.started_time,
            restart_count=process.restart_count,
            log_file=self._layout.log_file(process.name),
        )

    def write(self, processes: Iterable[ManagedProcess]) -> None:
        """Replace the file by the present state."""
        state = {
            "owner": {"pid": os.getpid(), "created": _created(os.getpid())},
            "written_time": datetime.now(UTC).isoformat(),
            "processes": [_record(self.status_of(process)) for process in processes],
            "endpoints": self.endpoints,
        }
        write_private(self._layout.state_file, json.dumps(state, indent=2, default=str) + "\n")

    def remove(self) -> None:
        """Say that nothing runs. Idempotent."""
        self._layout.state_file.unlink(missing_ok=True)


def read_status(data_directory: Path) -> StackStatus:
    """What runs on a data directory, asked from any process; never raises for a folder that is not there."""
    try:
        state = json.loads(Layout.state_file_of(data_directory).read_text())
    except (OSError, ValueError):
        return StackStatus(is_running=False, owner_pid=None, processes=())
    processes = tuple(_status_from(record) for record in state["processes"])
    is_held = DirectoryLock(data_directory.absolute()).is_held()
    return StackStatus(is_running=is_held, owner_pid=state["owner"]["pid"], processes=processes)


def end_leftovers(layout: Layout, *, on_progress: Callable[[str], None]) -> None:
    """End what an earlier owner of this data directory left running. The caller holds the lock. Idempotent.

    Such processes got a signal when their owner died and are ending by themselves; they are given time for
    that, then asked, then forced.
    """
    try:
        records = json.loads(layout.state_file.read_text())["processes"]
    except (OSError, ValueError, KeyError):
        return
    leftovers = [process for record in records if (process := _living(record)) is not None]
    if leftovers:
        on_progress("waiting for processes of an interrupted run to end")
        _, leftovers = psutil.wait_procs(leftovers, timeout=_OWN_END_SECONDS)
        for end in (psutil.Process.terminate, psutil.Process.kill):
            for process in leftovers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    end(process)
            _, leftovers = psutil.wait_procs(leftovers, timeout=_ASKED_END_SECONDS)
    layout.state_file.unlink(missing_ok=True)


def _record(status: ProcessStatus) -> dict[str, Any]:
    return asdict(status) | {"created": None if status.pid is None else _created(status.pid)}


def _created(pid: int) -> float | None:
    with contextlib.suppress(psutil.Error):
        return float(psutil.Process(pid).create_time())
    return None


def _living(record: Mapping[str, Any]) -> psutil.Process | None:
    if record["pid"] is None or record.get("created") is None:
        return None
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(record["pid"])
        is_same = abs(process.create_time() - record["created"]) < _SAME_PROCESS_SECONDS
        if is_same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def _status_from(record: Mapping[str, Any]) -> ProcessStatus:
    started = record["started_time"]
    return ProcessStatus(
        name=record["name"],
        pid=record["pid"],
        port=record["port"],
        is_running=_living(record) is not None,
        exit_code=record["exit_code"],
        started_time=None if started is None else datetime.fromisoformat(started),
        restart_count=record["restart_count"],
        log_file=Path(record["log_file"]),
    )
