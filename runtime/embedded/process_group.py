"""The processes of one data directory, by name and in order. Invariant: the state file tells what runs.

Stopping goes backwards through the order in which they were added, one rank after the other; processes of one
rank are stopped at the same time.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence

from runtime.embedded.errors import EmbeddedError
from runtime.embedded.managed_process import ManagedProcess, ProcessPlan, wait_until_ready
from runtime.embedded.state import ProcessStatus, StateFile


class ProcessGroup:
    """Named processes that share a state file."""

    def __init__(self, *, state: StateFile, on_progress: Callable[[str], None]) -> None:
        self._state = state
        self._on_progress = on_progress
        self._ranks: dict[str, int] = {}
        self._processes: dict[str, ManagedProcess] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()

    def open(self) -> None:
        """Allow starts (again, after `stop_all`)."""
        self._closing.clear()

    def add(self, plan: ProcessPlan, *, rank: int) -> None:
        """Add a process that is not started yet; lower ranks are stopped later."""
        self._processes[plan.name] = ManagedProcess(plan)
        self._ranks[plan.name] = rank

    def all(self) -> list[ManagedProcess]:
        """Every process, in the order of being added."""
        return list(self._processes.values())

    def get(self, name: str) -> ManagedProcess:
        """The process of this name; raises EmbeddedError when there is none."""
        try:
            return self._processes[name]
        except KeyError:
            names = ", ".join(self._processes) or "(nothing is started)"
            raise EmbeddedError(f"there is no process {name!r}; there are {names}") from None

    def start(self, names: Sequence[str]) -> None:
        """Launch these at once and wait until all of them answer."""
        with self._lock:
            processes = [self.get(name) for name in names]
            if self._closing.is_set():
                raise EmbeddedError(f"{', '.join(names)} cannot be started: everything is being stopped")
            for process in processes:
                self._on_progress(f"starting {process.name}")
                process.launch()
                self._write()
            wait_until_ready(
                processes,
                on_ready=lambda process: self._on_progress(
                    f"{process.name} answers on port {process.plan.port}"
                ),
                is_cancelled=self._closing.is_set,
            )
            self._write()

    def stop(self, name: str) -> None:
        """Stop one process in order. Idempotent."""
        with self._lock:
            self.get(name).stop()
            self._write()

    def stop_all(self) -> None:
        """Stop all, rank by rank; a start that is under way is given up. Idempotent."""
        self._closing.set()
        with self._lock:
            for rank in sorted(set(self._ranks.values()), reverse=True):
                members = [self._processes[name] for name, own in self._ranks.items() if own == rank]
                running = [process for process in members if process.is_running]
                for process in members:
                    process.is_wanted = False
                if running:
                    self._on_progress(f"stopping {', '.join(process.name for process in running)}")
                for process in running:
                    process.begin_stop()
                for process in running:
                    process.stop()

    def kill(self, name: str, signal_number: signal.Signals) -> None:
        """End one process as an accident would."""
        self.get(name).kill(signal_number)
        self._write()

    def crashed(self) -> list[ManagedProcess]:
        """Processes that should run and do not; empty while one is being started or stopped."""
        if not self._lock.acquire(blocking=False):
            return []
        try:
            return [process for process in self.all() if process.is_wanted and not process.is_running]
        finally:
            self._lock.release()

    def status(self) -> dict[str, ProcessStatus]:
        """The status of every process, by name."""
        return {process.name: self._state.status_of(process) for process in self.all()}

    def _write(self) -> None:
        self._state.write(self.all())
