"""A part or server with a name: launched, awaited, stopped, killed, started again with the same command.

Invariant: `start` returns only when the process answers, or raises with the last lines that it logged.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from runtime.embedded.child_process import ChildProcess, Command
from runtime.embedded.errors import EmbeddedError, ProcessFailed

_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPlan:
    """How one process is run.

    `command` is asked anew at each launch; `ready` says whether it answers; `prepare` runs before each launch;
    `stop_steps` are signals with the seconds to wait after each; `worth_another_try` reads what was logged by a
    process that ended while starting.
    """

    name: str
    port: int
    command: Callable[[], Command]
    ready: Callable[[], bool]
    stop_steps: Sequence[tuple[signal.Signals, float]]
    start_timeout_seconds: float
    prepare: Callable[[], None] = lambda: None
    worth_another_try: Callable[[str], bool] = lambda _log: False


class ManagedProcess:
    """One process of a stack; its methods may be called from any thread."""

    def __init__(self, plan: ProcessPlan) -> None:
        self.plan = plan
        self.is_wanted = False
        self.restart_count = 0
        self.started_time: datetime | None = None
        self._child: ChildProcess | None = None
        self._is_asked_to_end = False
        self._deadline_seconds = 0.0
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """The name by which the stack knows it."""
        return self.plan.name

    @property
    def pid(self) -> int | None:
        """Process id of the latest run; None before the first."""
        return None if self._child is None else self._child.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code of the latest run; None while it runs or before the first."""
        return None if self._child is None else self._child.exit_code()

    @property
    def is_running(self) -> bool:
        """Whether the process lives; not whether it answers."""
        return self._child is not None and self._child.exit_code() is None

    def launch(self) -> None:
        """Start the process without waiting until it answers; does nothing when it runs."""
        with self._lock:
            if self.is_running:
                return
            self._deadline_seconds = time.monotonic() + self.plan.start_timeout_seconds
            self.plan.prepare()
            self._run()

    def is_ready(self) -> bool:
        """Whether it answers now; raises ProcessFailed when it has ended or its time is over."""
        with self._lock:
            child = self._child
            if child is None:
                return False
            if child.exit_code() is not None and not self._try_again(child):
                raise self._failure(child, _ending(child.exit_code()))
            if self.plan.ready():
                return True
            if time.monotonic() > self._deadline_seconds:
                raise self._failure(child, f"did not answer within {self.plan.start_timeout_seconds:g} s")
            return False

    def start(self) -> None:
        """Launch and wait until it answers. Raises ProcessFailed."""
        self.launch()
        wait_until_ready([self])

    def begin_stop(self) -> None:
        """Ask it to end, once, without waiting; `stop` then waits."""
        with self._lock:
            self.is_wanted = False
            if self._child is not None and not self._is_asked_to_end:
                self._is_asked_to_end = True
                self._child.send(self.plan.stop_steps[0][0])

    def stop(self) -> None:
        """End it in order, by force at last; returns when it is gone. Idempotent."""
        with self._lock:
            self.begin_stop()
            if self._child is not None:
                self._child.stop(self.plan.stop_steps, is_first_signal_sent=True)

    def kill(self, signal_number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal as an accident would, and wait until it is gone; it stays wanted."""
        child = self._child
        if child is None:
            return
        child.send(signal_number)
        longest_seconds = sum(seconds for _, seconds in self.plan.stop_steps)
        if not child.wait(timeout_seconds=longest_seconds):
            child.kill()

    def _run(self) -> None:
        self._child = ChildProcess(self.plan.command())
        self._is_asked_to_end = False
        self.is_wanted = True
        self.started_time = datetime.now(UTC)

    def _try_again(self, child: ChildProcess) -> bool:
        if time.monotonic() > self._deadline_seconds or not self.plan.worth_another_try(child.log_text()):
            return False
        time.sleep(0.2)
        self._run()
        return True

    def _failure(self, child: ChildProcess, what: str) -> ProcessFailed:
        return ProcessFailed(
            name=self.name, what=what, log_file=child.command.log_file, last_log_lines=child.last_log_lines()
        )


def wait_until_ready(
    processes: Sequence[ManagedProcess],
    *,
    on_ready: Callable[[ManagedProcess], None] = lambda _process: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until every one of them answers, in whatever order; the first failure is raised at once."""
    pending = list(processes)
    while pending:
        if is_cancelled():
            raise EmbeddedError(f"{pending[0].name} was stopped while it was being started")
        for process in list(pending):
            if process.is_ready():
                pending.remove(process)
                on_ready(process)
        if pending:
            time.sleep(_POLL_SECONDS)


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name} while it was being started"
    return f"ended with exit code {exit_code} while it was being started"
